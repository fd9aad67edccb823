import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import type { LeaseWrite } from './lease-witness.ts'
import { isForeign, type SimulatedProcess } from './process.ts'
import type { TableRequest, TableWrite } from './table-requests.ts'
import { type Invariant, Violation } from './violation.ts'

export interface TableWatchOptions {
  readonly nowMs: () => number
  readonly failoverTime: number
  /** What a request takes there or its answer back, at most, with nothing wrong. */
  readonly wayMs: number
  /** How often a process writes the checkpoint of a lease, and renews a lease whose checkpoint stands still. */
  readonly intervals: (process: SimulatedProcess) => { readonly checkpointMs: number; readonly renewalMs: number }
  /** Whether it is stopping, so that it may look at everything for what is still its own. */
  readonly isClosing: (process: SimulatedProcess) => boolean
  /** Until then others use the table by rules that aren't ours. */
  readonly foreignUntilMs: number
  /** Without it, everybody has to look through the table. */
  readonly hasIndex: boolean
  /** Since when nothing disturbs the table. */
  readonly quietSinceMs: () => number
  readonly report: (violation: Violation) => void
}

const OWNERS = ['leaseOwner', 'checkpointOwner'] as const
/** Timers come a little early, and clocks run a little fast. */
const EARLY_MS = 5
const EARLY_SHARE = 0.005
/** A worker is new, or not itself again after a pause, for so many failover times. */
const FRESH_FAILOVERS = 3
/** A lock that has stood still for more than one heartbeat makes others look. The heartbeat is half of the failover time. */
const HEARTBEAT_SHARE = 0.5
const LATE_SHARE = 0.1
const NEEDLESS_SCANS = 3
const NEEDLESS_WRITES = 2

/** Looks at what workers ask of the table: whether they may, and not too often. */
export class TableWatch {
  readonly #options: TableWatchOptions
  readonly #counts = new Map<TableWrite, number>()
  readonly #bornMs = new Map<SimulatedProcess, number>()
  /** When each holder sent the last write to a lease that was answered. */
  readonly #written = new Map<string, number>()
  /** When each holder announced a checkpoint last. */
  readonly #preparedMs = new Map<string, number>()
  /** When each lease was written lately too soon. */
  readonly #early = new Map<string, readonly number[]>()
  /** When each lease changed hands last. */
  readonly #settledMs = new Map<string, number>()
  /** So many shards each process has taken up whose parents may be gone: it may look once for what is above each. */
  readonly #looks = new Map<SimulatedProcess, number>()
  /** When each process has read the whole table lately without a reason. */
  readonly #scans = new Map<SimulatedProcess, readonly number[]>()
  /** When the leader lock was written or deleted, and by whom. */
  readonly #beats: { readonly atMs: number; readonly owner: string | undefined }[] = []

  constructor(options: TableWatchOptions) {
    this.#options = options
  }

  /** How many writes of each kind our workers have sent. */
  get counts(): ReadonlyMap<TableWrite, number> {
    return this.#counts
  }

  /** A process sends a request; the returned function is told when it was answered without an error. */
  sent(process: SimulatedProcess, request: TableRequest): () => void {
    if (isForeign(process)) return () => {}
    const nowMs = this.#options.nowMs()
    if (!this.#bornMs.has(process)) this.#bornMs.set(process, nowMs)
    this.#checkCondition(process, request)
    if (nowMs < this.#options.foreignUntilMs && request.write !== undefined && request.write !== 'createTable') {
      this.#object('other rules are respected', `${process.name} sends a ${request.write} to a table that others use`)
    }
    if (request.operation === 'Scan' && this.#options.hasIndex) this.#checkScan(process)
    const { key, write } = request
    if (write !== undefined) this.#counts.set(write, (this.#counts.get(write) ?? 0) + 1)
    if (key === undefined || write === undefined) return () => {}
    const name = `${process.name} ${key}`
    if (write === 'prepare') this.#preparedMs.set(name, nowMs)
    if (!isHolders(write)) return () => {}
    if (write === 'renew' || write === 'checkpoint') this.#checkInterval(process, key, write)
    // Until it is answered nothing is known of it.
    this.#written.delete(name)
    // After the take-up the first renewal comes at any time within its interval.
    if (write === 'acquire') return () => {}
    return () => this.#written.set(name, nowMs)
  }

  /** A lease has been written. */
  leaseWritten({ key, before, after, writer }: LeaseWrite): void {
    const hasMoved = OWNERS.some((name) => before?.[name]?.S !== after?.[name]?.S)
    if (hasMoved) this.#settledMs.set(key, this.#options.nowMs())
    const isTaken = after?.shardwiseToken?.S !== before?.shardwiseToken?.S
    if (!isTaken || writer === undefined || after?.parentShardId === undefined) return
    this.#looks.set(writer, (this.#looks.get(writer) ?? 0) + 1)
  }

  /** The leader lock has been written, or deleted. */
  lockWritten(item: Readonly<Record<string, AttributeValue>> | undefined): void {
    const atMs = this.#options.nowMs()
    this.#beats.push({ atMs, owner: item?.ownerName?.S })
    while (this.#beats.length > 2 && this.#beats[1]!.atMs < atMs - 10 * this.#options.failoverTime) this.#beats.shift()
  }

  /** Since then nothing must have happened for all to be in its course. */
  get #freshMs(): number {
    return this.#options.nowMs() - FRESH_FAILOVERS * this.#options.failoverTime
  }

  #checkCondition({ name }: SimulatedProcess, { operation, key, write, isConditional }: TableRequest): void {
    if (isConditional || !['UpdateItem', 'DeleteItem', 'PutItem'].includes(operation)) return
    const isOwnEntry = write === 'workerEntry' && name.startsWith(`${key}#`)
    if (!isOwnEntry) this.#object('writes are conditional', `${name} sends ${operation} of ${key} without a condition`)
  }

  #checkInterval(process: SimulatedProcess, key: string, write: 'renew' | 'checkpoint'): void {
    const lastMs = this.#written.get(`${process.name} ${key}`)
    if (lastMs === undefined || Math.max(this.#settledMs.get(key) ?? 0, this.#options.quietSinceMs()) > this.#freshMs)
      return
    const { checkpointMs, renewalMs } = this.#options.intervals(process)
    const leastMs = write === 'renew' ? renewalMs : checkpointMs
    const nowMs = this.#options.nowMs()
    const afterMs = nowMs - lastMs
    // Writes wait for one another: the last may have come late, behind one that a handler asked for.
    const preparedMs = this.#preparedMs.get(`${process.name} ${key}`) ?? Number.NEGATIVE_INFINITY
    if (nowMs - preparedMs < 2 * leastMs) return
    if (afterMs < leastMs * (1 - EARLY_SHARE) - EARLY_MS) {
      // A look at the table that took long shows what was the case once, which is then made sure of.
      const recent = (this.#early.get(key) ?? []).filter((atMs) => atMs >= this.#freshMs)
      this.#early.set(key, [...recent, nowMs])
      if (recent.length < NEEDLESS_WRITES) return
      this.#object(
        'one write a lease and interval',
        `${process.name} sends a ${write} of ${key} ${afterMs.toFixed(0)} ms after the last write, expected ${leastMs.toFixed(0)}`,
      )
    }
  }

  /** Who follows a leader that beats regularly has no reason to read the whole table. */
  #checkScan(process: SimulatedProcess): void {
    const { nowMs, isClosing, quietSinceMs } = this.#options
    const now = nowMs()
    const freshMs = this.#freshMs
    const isSteady = this.#bornMs.get(process)! < freshMs && process.lastPausedMs < freshMs && quietSinceMs() < freshMs
    const leader = this.#steadyLeader(freshMs, now)
    if (!isSteady || isClosing(process) || leader === undefined || process.name.startsWith(`${leader}#`)) return
    const looks = this.#looks.get(process) ?? 0
    this.#looks.set(process, looks - 1)
    if (looks > 0) return
    // With long ways a heartbeat may seem to be missing now and then.
    const recent = (this.#scans.get(process) ?? []).filter((atMs) => atMs >= freshMs)
    this.#scans.set(process, [...recent, now])
    if (recent.length < NEEDLESS_SCANS) return
    this.#object('only leaders scan', `${process.name} scans the table while ${leader} leads`)
  }

  /** Who has led for a while, and written the lock in time. */
  #steadyLeader(sinceMs: number, nowMs: number): string | undefined {
    const { failoverTime, wayMs } = this.#options
    const mostMs = HEARTBEAT_SHARE * (1 + LATE_SHARE) * failoverTime + 2 * wayMs
    const from = Math.max(
      0,
      this.#beats.findLastIndex(({ atMs }) => atMs <= sinceMs),
    )
    const beats = this.#beats.slice(from)
    const owner = beats[0]?.owner
    const isSteady =
      owner !== undefined &&
      beats[0]!.atMs <= sinceMs &&
      beats.every((beat, index) => beat.owner === owner && (beats[index + 1]?.atMs ?? nowMs) - beat.atMs <= mostMs)
    return isSteady ? owner : undefined
  }

  #object(invariant: Invariant, message: string): void {
    this.#options.report(new Violation(invariant, message))
  }
}

/** Whether it is the holder of a lease who writes this. */
function isHolders(write: string): boolean {
  return ['acquire', 'renew', 'checkpoint', 'release', 'handoffRelease', 'shardEnd'].includes(write)
}
