import type { Clock, Kinesis, ListShardsOptions, Shard } from '@shardwise/core'
import { findHoles } from '@shardwise/records'
import { shardsOf } from '../streams/shard-list.ts'
import type { InitialPosition } from './shard-sync.ts'

/** While a stream is being created or resharded, a listing may lack shards. Source: the KCL's number of tries. */
const TRIES = 3
const PAUSE_MS = 1_000

/**
 * The shards that were open at a position, which cover all hash keys.
 *
 * @throws if they don't, several times in a row; `ERR_STREAM` if there is no such stream
 */
export async function shardsAt(
  { kinesis, stream, clock }: { readonly kinesis: Kinesis; readonly stream: string; readonly clock: Clock },
  position: InitialPosition,
  options: Omit<ListShardsOptions, 'filter'>,
): Promise<Shard[]> {
  const filter: ListShardsOptions['filter'] =
    position === 'TRIM_HORIZON'
      ? { Type: 'AT_TRIM_HORIZON' }
      : position === 'LATEST'
        ? { Type: 'AT_LATEST' }
        : { Type: 'AT_TIMESTAMP', Timestamp: new Date(position.timestamp) }
  for (let tries = 1; ; tries++) {
    const shards = await shardsOf(kinesis, stream, { ...options, filter })
    const holes = findHoles(shards.map(({ hashRange }) => hashRange))
    if (holes.length === 0) return shards
    if (tries === TRIES) {
      throw new Error(
        `Expected the shards of "${stream}" to cover all hash keys, but of the ${shards.length} that ListShards gave ` +
          `none covers ${holes[0]!.start}-${holes[0]!.end}, ${tries} times in a row; the stream may be being created or resharded.`,
      )
    }
    await clock.sleep(PAUSE_MS, options.signal)
  }
}
