import type { Clock, Random } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import { uuid } from '../uuid.ts'
import type { Condition, Item, ItemChange, Table } from './table.ts'

/** Attributes that only Shardwise writes. */
const PERIOD_MS = 'shardwisePeriodMs'
const BEAT = 'shardwiseBeat'
const MAX_LEASES = 'shardwiseMaxLeases'
/** Names one run of a worker: the next one under its name has another. */
const RUN = 'shardwiseRun'

/** A KCL's worker writes its entry every 30 s and counts as gone after two periods. */
const KCL_TIMEOUT_MS = 60_000
/** When the KCL deletes entries. */
const KCL_STALE_MS = 86_400_000
const PERIODS = 3
/** An entry of ours that has stood still for so many periods is deleted. */
const STALE_PERIODS = 60
/** What a KCL's worker writes for a metric that it can't measure. */
const FAILED_SAMPLE = -1

/** One worker of the application, as its entry in the table says. */
export interface WorkerEntry {
  readonly workerId: string
  /** Not a KCL's. */
  readonly isOurs: boolean
  /** Changes with each write. */
  readonly beat: string
  /** What the item was when it was read, to delete only that. */
  readonly asSeen: Condition
  /** After how long without a change the worker counts as gone. */
  readonly timeoutMs: number
  /** After how long without a change the entry itself is of no use. */
  readonly staleMs: number
  /** When the worker wrote it, by its own clock. */
  readonly writtenAtMs: number
  /** Infinity if it doesn't say. */
  readonly maxLeases: number
  /** Whether it says of itself that it is unwell, as a KCL's does by a metric that fails: it gets no leases. */
  readonly isFailing: boolean
}

export interface WorkerPresenceOptions {
  readonly table: Table
  readonly workerId: string
  readonly maxLeases: number
  /** How often {@link WorkerPresence.show} is called. */
  readonly periodMs: number
  readonly clock: Clock
  readonly random: Random
  /** The machine's last CPU loads in percent, the newest last: what a KCL that leads goes by. Default: none are told. */
  readonly cpuLoads?: (() => readonly number[]) | undefined
}

/** Shows the others that this worker lives, by its entry in the table. */
export class WorkerPresence {
  readonly #options: WorkerPresenceOptions
  readonly #run: string
  #beat = 0
  #isShown = false

  constructor(options: WorkerPresenceOptions) {
    this.#options = options
    this.#run = uuid(options.random)
  }

  /**
   * @throws {ConsumerError} `ERR_STATE` if another run has come under the same name since: then this one has to end
   */
  async show(): Promise<void> {
    const { table, workerId } = this.#options
    // The first time it takes over from whatever run there was; a write of an earlier run that comes late is refused by it.
    while (!this.#isShown) {
      const seen = await table.read('worker', workerId)
      this.#isShown = (await table.update(this.#write([{ [RUN]: seen?.[RUN] }]))) !== undefined
      if (this.#isShown) return
    }
    if ((await table.update(this.#write([{ [RUN]: { S: this.#run } }, { lut: undefined }]))) !== undefined) return
    throw new ConsumerError(
      'ERR_STATE',
      `Another worker has started under the workerId "${workerId}": expected one at a time, so this one ends. Give each worker ` +
        'its own workerId, or none.',
    )
  }

  /** Leaves no entry behind; that of another run under the same name, begun meanwhile, stays. */
  async leave(): Promise<void> {
    const { table, workerId } = this.#options
    await table.delete('worker', workerId, [{ [RUN]: { S: this.#run } }])
  }

  /** Whether no other run has come under the same name. */
  async isAlone(): Promise<boolean> {
    const { table, workerId } = this.#options
    const other = (await table.read('worker', workerId))?.[RUN]?.S
    return other === undefined || other === this.#run
  }

  /**
   * The layout is that of the KCL's worker metrics. A KCL that leads takes a worker without metrics by the throughput of its
   * leases.
   */
  #write(when: readonly Condition[]): ItemChange {
    const { workerId, maxLeases, periodMs, clock, cpuLoads } = this.#options
    const loads = cpuLoads?.() ?? []
    const seconds = { N: String(Math.floor(clock.wallMs() / 1000)) }
    return {
      kind: 'worker',
      key: workerId,
      when,
      set: {
        entityType: { S: 'WORKER_METRIC_STATS' },
        sts: { M: loads.length > 0 ? { C: { L: loads.map(percent) } } : {} },
        opr: { M: loads.length > 0 ? { C: { L: [{ N: '100' }] } } : {} },
        lut: seconds,
        slu: seconds,
        sup: { N: '1' },
        [PERIOD_MS]: { N: String(periodMs) },
        [BEAT]: { N: String(++this.#beat) },
        [RUN]: { S: this.#run },
        ...(Number.isFinite(maxLeases) && { [MAX_LEASES]: { N: String(maxLeases) } }),
      },
      // An earlier run may have had a limit.
      ...(!Number.isFinite(maxLeases) && { remove: [MAX_LEASES] }),
    }
  }
}

/** Returns undefined for an item that can't be one. */
export function entryFromItem(item: Item): WorkerEntry | undefined {
  const workerId = item.leaseKey?.S
  const writtenAtMs = Number(item.lut?.N) * 1000
  if (workerId === undefined || item.lut === undefined || !Number.isFinite(writtenAtMs)) return undefined
  const period = Number(item[PERIOD_MS]?.N)
  const isOurs = period > 0
  const limit = Number(item[MAX_LEASES]?.N)
  return {
    workerId,
    isOurs,
    beat: `${item.lut.N}:${item[BEAT]?.N ?? ''}:${item[RUN]?.S ?? ''}`,
    asSeen: { lut: item.lut, [BEAT]: item[BEAT], [RUN]: item[RUN] },
    timeoutMs: isOurs ? period * PERIODS : KCL_TIMEOUT_MS,
    staleMs: isOurs ? period * STALE_PERIODS : KCL_STALE_MS,
    writtenAtMs,
    maxLeases: limit >= 0 ? limit : Number.POSITIVE_INFINITY,
    isFailing: Object.values(item.sts?.M ?? {}).some(({ L: samples }) => Number(samples?.at(-1)?.N) === FAILED_SAMPLE),
  }
}

/** The KCL reads loads as decimals; the limit it compares them with must be a whole number, or it takes no note of the worker. */
function percent(value: number): { N: string } {
  return { N: value.toFixed(2) }
}

/** Whether the worker with this entry is a KCL's that reports its CPU load. */
export function goesByCpu(item: Item | undefined): boolean {
  return item !== undefined && item[PERIOD_MS] === undefined && item.sts?.M?.C !== undefined
}
