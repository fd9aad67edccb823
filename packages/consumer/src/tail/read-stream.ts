import { backoffMs, orAborted } from '@shardwise/core'
import { AT_TIMESTAMP, TRIM_HORIZON } from '@shardwise/records'
import { ConsumerError } from '../errors.ts'
import type { InitialPosition } from '../leases/shard-sync.ts'
import { Wakeup } from '../waiting.ts'
import { type ReadStreamOptions, type Records, resolveStreamOptions } from './read-options.ts'
import { ReadingOrder, type Turn } from './reading-order.ts'
import { RecordIterator } from './record-iterator.ts'
import { LISTING_BACKOFF, type Listing, startMsOf, Tail } from './tail.ts'

/**
 * Reads all user records of a stream, without leases: for tests, debugging and small tools. All shards are read at once, each
 * after all of its parents, through reshards, so the records of a key come in their order. It never ends for want of records:
 * leave the loop, or abort `signal`, and everything is released. Nothing is read before the first record is asked for.
 *
 * Nothing is remembered: to share a stream between processes and go on after a restart, use a {@link Consumer}.
 *
 * @throws {OptionError} for an option that is unknown, missing, or not what it must be
 * @throws {ConsumerError} in the loop: `ERR_STREAM` if there is no such stream, or no longer, or another one; `ERR_ACCESS` if AWS refuses a call for
 *   good; `ERR_RECORD` in the place of a damaged aggregate
 * @example
 * for await (const record of readStream({ stream: 'flights', from: 'LATEST' })) {
 *   console.log(record.shardId, record.partitionKey, record.text())
 * }
 */
export function readStream(options: ReadStreamOptions): Records {
  const resolved = resolveStreamOptions(options)
  const { from = 'TRIM_HORIZON' } = options
  return new RecordIterator(new Tail(resolved, (tail, signal) => follow(tail, from, signal)))
}

async function follow(tail: Tail, from: InitialPosition, signal: AbortSignal): Promise<void> {
  const { clock, random } = tail.options
  const { order, startMs } = await startingOrder(tail, from, signal)
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const changed = new Wakeup()
  let ends = 0
  const read = async ({ shardId, hashRange, isAtStart }: Turn): Promise<void> => {
    const start =
      isAtStart && startMs !== undefined
        ? { checkpoint: AT_TIMESTAMP, startMs }
        : { checkpoint: TRIM_HORIZON, startMs: undefined }
    try {
      order.ended(shardId, await tail.read({ shardId, hashRange, ...start }))
      ends++
      changed.wake()
    } catch (error) {
      failed.abort(error)
    }
  }
  for (let looks = 0; ; ) {
    for (const turn of order.take()) void read(turn)
    if (!order.isIncomplete) {
      looks = 0
      await changed.wait(either)
      continue
    }
    if (looks > 0) {
      const seen = ends
      tellOfHole(tail)
      await changed.until(() => ends > seen, either, clock, backoffMs(looks, LISTING_BACKOFF, random))
      either.throwIfAborted()
    }
    looks++
    order.listed((await orAborted(tail.list(), either)).shards)
  }
}

async function startingOrder(
  tail: Tail,
  from: InitialPosition,
  signal: AbortSignal,
): Promise<{ readonly order: ReadingOrder; readonly startMs: number | undefined }> {
  const { clock, random } = tail.options
  for (let looks = 1; ; looks++) {
    const listing = await tail.list()
    const startMs = startMsOf(from, listing)
    const order = new ReadingOrder(listing.shards, await openAt(tail, startMs, listing))
    if (!order.isIncomplete) return { order, startMs }
    tellOfHole(tail)
    await clock.sleep(backoffMs(looks, LISTING_BACKOFF, random), signal)
  }
}

/** The shards that were open at a time, in milliseconds since 1970; of a time before all that is listed, all. */
async function openAt(tail: Tail, startMs: number | undefined, { shards, atMs }: Listing): Promise<Listing['shards']> {
  if (startMs === undefined) return shards
  try {
    const open = await tail.list({ Type: 'AT_TIMESTAMP', Timestamp: new Date(Math.min(startMs, atMs)) })
    return open.shards.length > 0 ? open.shards : shards
  } catch (error) {
    // Where the service takes so old a time for none: the same call for all shards was allowed.
    if (error instanceof ConsumerError && error.code === 'ERR_ACCESS') return shards
    throw error
  }
}

/** While a stream is being created or resharded, a listing may lack shards. */
function tellOfHole(tail: Tail): void {
  tail.tell({
    type: 'callFailed',
    doing: 'listing the shards',
    error: new Error(
      `Expected the shards of "${tail.options.stream}" to cover all hash keys, and every parent to be listed or gone, but they ` +
        'do not: the stream may be being created or resharded.',
    ),
  })
}
