import type { Clock } from '@shardwise/core'
import type { Condition, Item, ItemChange } from './table.ts'

/** Attributes that only Shardwise writes. */
const PERIOD_MS = 'shardwisePeriodMs'
const BEAT = 'shardwiseBeat'

/** A KCL's worker writes its entry every 30 s and counts as gone after two periods. */
const KCL_PERIOD_MS = 30_000
const KCL_PERIODS = 2
const PERIODS = 3
/** An entry that has stood still for so many periods is deleted. */
const STALE_PERIODS = 60

/** One worker of the application, as its entry in the table says. */
export interface WorkerEntry {
  readonly workerId: string
  /** Changes with each write. */
  readonly beat: string
  /** What the item was when it was read, to delete only that. */
  readonly asSeen: Condition
  /** After how long without a change the worker counts as gone. */
  readonly timeoutMs: number
  /** After how long without a change the entry itself is of no use; undefined for a KCL's, which it cleans up itself. */
  readonly staleMs: number | undefined
  /** When the worker wrote it, by its own clock. */
  readonly writtenAtMs: number
}

/** The item's layout is that of the KCL's worker metrics, with no metrics; a KCL that leads takes such a worker by its lease count. */
export function writeEntry(workerId: string, beat: number, periodMs: number, clock: Clock): ItemChange {
  const seconds = { N: String(Math.floor(clock.wallMs() / 1000)) }
  return {
    key: workerId,
    when: [],
    set: {
      entityType: { S: 'WORKER_METRIC_STATS' },
      opr: { M: {} },
      sts: { M: {} },
      lut: seconds,
      slu: seconds,
      sup: { N: '1' },
      [PERIOD_MS]: { N: String(periodMs) },
      [BEAT]: { N: String(beat) },
    },
  }
}

/** Returns undefined for an item that can't be one. */
export function entryFromItem(item: Item): WorkerEntry | undefined {
  const workerId = item.leaseKey?.S
  const lut = item.lut?.N
  if (workerId === undefined || lut === undefined) return undefined
  const period = Number(item[PERIOD_MS]?.N)
  const isOurs = period > 0
  return {
    workerId,
    beat: `${lut}:${item[BEAT]?.N ?? ''}`,
    asSeen: { lut: item.lut, [BEAT]: item[BEAT] },
    timeoutMs: isOurs ? period * PERIODS : KCL_PERIOD_MS * KCL_PERIODS,
    staleMs: isOurs ? period * STALE_PERIODS : undefined,
    writtenAtMs: Number(lut) * 1000,
  }
}
