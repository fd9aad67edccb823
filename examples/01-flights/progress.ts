import { bytes, count, percent, seconds, table } from './format.ts'

/** What is to be seen of the job at one moment. */
export interface Progress {
  /** Since the first put. */
  readonly elapsedMs: number
  readonly total: number
  readonly put: number
  readonly acknowledged: number
  readonly delivered: number
  readonly deliveredBytes: number
  readonly userRecordsPerKinesisRecord: number
  readonly shards: readonly ShardProgress[]
}

interface ShardProgress {
  readonly shardId: string
  /** Undefined while nobody holds its lease. */
  readonly owner: string | undefined
  /** Acknowledged user records that are not delivered yet. */
  readonly recordsBehind: number
}

/** Records and bytes a second over the last two seconds or so. */
export class Rates {
  readonly #samples: { readonly ms: number; readonly records: number; readonly bytes: number }[] = []

  at({ elapsedMs: ms, delivered: records, deliveredBytes: bytes }: Progress): { records: number; bytes: number } {
    const newest = { ms, records, bytes }
    this.#samples.push(newest)
    while (this.#samples.length > 2 && this.#samples[1]!.ms <= ms - WINDOW_MS) this.#samples.shift()
    const oldest = this.#samples[0]!
    const perSecond = ms === oldest.ms ? 0 : 1_000 / (ms - oldest.ms)
    return { records: (records - oldest.records) * perSecond, bytes: (bytes - oldest.bytes) * perSecond }
  }
}

const WINDOW_MS = 2_000
const BAR_WIDTH = 30

/** The lines of the live block. */
export function liveBlock(progress: Progress, rates: { records: number; bytes: number }): string[] {
  const { total, elapsedMs, userRecordsPerKinesisRecord } = progress
  const counts = (['put', 'acknowledged', 'delivered'] as const).map((name) => {
    const done = progress[name]
    return [name, count(done), percent(done, total), bar(done / total)]
  })
  const shards = progress.shards.map(({ shardId, owner, recordsBehind }) => [
    shardId,
    owner ?? 'no owner',
    `${count(recordsBehind)} behind`,
  ])
  return [
    ...table(counts, [1, 2]),
    `${seconds(elapsedMs)}   ${count(rates.records)} records/s   ${bytes(rates.bytes)}/s   ` +
      `${count(userRecordsPerKinesisRecord)} user records per Kinesis record`,
    ...table(shards, [2]),
  ]
}

/** The same in one line, for logs. */
export function plainLine(progress: Progress, rates: { records: number; bytes: number }): string {
  const shards = progress.shards
    .filter(({ owner, recordsBehind }) => owner !== undefined || recordsBehind > 0)
    .map(
      ({ shardId, owner, recordsBehind }) => `${shortShardId(shardId)} ${owner ?? 'no owner'} ${count(recordsBehind)}`,
    )
  return (
    `${seconds(progress.elapsedMs)}: put ${count(progress.put)}, acknowledged ${count(progress.acknowledged)}, ` +
    `delivered ${count(progress.delivered)} of ${count(progress.total)}; ${count(rates.records)} records/s, ` +
    `${bytes(rates.bytes)}/s, ${count(progress.userRecordsPerKinesisRecord)} per Kinesis record; ` +
    `behind: ${shards.join(', ')}`
  )
}

/** shardId-000000000003 → shard 3 */
export function shortShardId(shardId: string): string {
  return shardId.replace(/^shardId-0*(?=\d)/, 'shard ')
}

function bar(share: number): string {
  const full = Math.floor(Math.min(1, share) * BAR_WIDTH)
  return '█'.repeat(full) + '░'.repeat(BAR_WIDTH - full)
}
