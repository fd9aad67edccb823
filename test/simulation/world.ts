import { lightenAbortSignals } from './abort-signals.ts'
import { Disturbances } from './disturbances.ts'
import { DynamoDBService } from './dynamodb-service.ts'
import type { SubscriptionFate } from './fan-out-service.ts'
import { describeFault, type Fault } from './faults.ts'
import { leaveTable } from './former-table.ts'
import { ItemWitness } from './item-witness.ts'
import { KinesisService } from './kinesis-service.ts'
import type { LeaseWrite } from './lease-witness.ts'
import { Network } from './network.ts'
import { Operator } from './operator.ts'
import type { Plan } from './plan.ts'
import type { SimulatedProcess } from './process.ts'
import type { HandlingFate } from './processing-witness.ts'
import { Programs } from './programs.ts'
import { type FleetChange, Promptness } from './promptness.ts'
import { Randomness } from './randomness.ts'
import { GENTLE, isDeregisteredByArn, isHandledWithoutFailure, Recovery } from './recovery.ts'
import { HandlerFailure } from './simulated-handlers.ts'
import type { FleetMember } from './simulated-worker.ts'
import type { StoredUserRecord } from './stored-stream.ts'
import { isLeaseKey, LEADER_KEY, type TableRequest, type TableWrite } from './table-requests.ts'
import { TableWatch } from './table-watch.ts'
import { Trace } from './trace.ts'
import { type Invariant, Violation } from './violation.ts'
import { VirtualTime } from './virtual-time.ts'
import { isLeaseOf, openShardsOf, placeOfLease, WatchedStreams } from './watched-streams.ts'
import { WriteFaults } from './write-faults.ts'

/** What came of a run. */
export interface Outcome {
  /** The promise that was broken first; undefined if none was. */
  readonly violation: Violation | undefined
  readonly virtualMs: number
  /** How much happened. */
  readonly happenings: number
  readonly puts: number
  readonly acknowledged: number
  /** Deliveries of records that had been finished before. */
  readonly repeated: number
  /** User records that nobody could handle before they expired. */
  readonly expired: number
  /** How long after the last fault everything was well. */
  readonly steadyAfterMs: number
  /** The longest that it took to make up for a change in a fleet at rest, and the longest handoff. */
  readonly slowestMs: ReadonlyMap<FleetChange | 'handoff', number>
  /** What workers wrote to the table, and how many faults came right before or after such a write. */
  readonly writes: ReadonlyMap<TableWrite, number>
  readonly struck: number
  /** What became of subscriptions. */
  readonly subscriptions: ReadonlyMap<SubscriptionFate, number>
  /** What came of handling records. */
  readonly handled: ReadonlyMap<HandlingFate, number>
  readonly digest: string
  readonly trace: readonly string[]
}

const LOOK_MS = 250
/** Who misses its consumer is started again with another one. */
const MISSED_MS = 2_000
/** The consumer's own. */
const DEFAULT_CLOSE_MS = 10_000
const HANDOFF_REQUESTS = 10
const HANDOFF_SLACK_MS = 1_000

/** One run of a {@link Plan}: the real producers and consumers over modelled services, watched by witnesses. */
export class World {
  readonly #plan: Plan
  readonly #randomness: Randomness
  readonly #time: VirtualTime
  readonly #trace: Trace
  readonly #disturbances: Disturbances
  readonly #streams: WatchedStreams
  readonly #kinesis: KinesisService
  readonly #dynamodb: DynamoDBService
  readonly #programs: Programs
  readonly #recovery: Recovery
  readonly #writeFaults = new WriteFaults()
  /** Who wrote each item of the table last. */
  readonly #writers = new Map<string, SimulatedProcess>()
  readonly #operator: Operator
  readonly #tableWatch: TableWatch
  readonly #itemWitness: ItemWitness
  readonly #promptness: Promptness
  #violation: Violation | undefined
  /** When somebody changed the table by hand last. */
  #operatedMs = Number.NEGATIVE_INFINITY
  #isOver = false

  constructor(plan: Plan, { keepTrace = false }: { readonly keepTrace?: boolean } = {}) {
    this.#plan = plan
    this.#randomness = new Randomness(plan.seed)
    const time = new VirtualTime(this.#randomness.stream('order'))
    this.#time = time
    this.#disturbances = new Disturbances(() => time.nowMs)
    this.#trace = new Trace(() => time.nowMs, { keep: keepTrace })
    const report = (violation: Violation): void => this.#report(violation)
    const needsNoLease = (stream: string, shardId: string): boolean =>
      !this.#kinesis.hasShard(stream, shardId) ||
      this.#dynamodb.items().some(({ leaseKey }) => isLeaseOf(leaseKey!.S!, stream, shardId))
    this.#streams = new WatchedStreams(
      plan,
      () => time.nowMs,
      {
        needsNoLease,
        knownSinceMs: (process, stream) => this.#kinesis.knownSinceMs(process, stream),
        mayCheckpoint: (process, ...place) => this.#programs.witnessOf(process)?.mayCheckpoint(...place) ?? true,
      },
      report,
    )
    const notes = new Map(
      this.#streams.all.map(({ name, stored, witness }) => [
        name,
        { stored, onStored: (record: StoredUserRecord) => witness.stored(record) },
      ]),
    )
    const network = new Network({
      time,
      random: this.#randomness.stream('network'),
      wayMs: plan.wayMs,
      weather: (service) => this.#disturbances.weather(service),
      cut: (process, service) => this.#disturbances.cut(process, service),
      trace: (process, text) => this.#trace.add(process, text()),
    })
    this.#kinesis = new KinesisService({
      ...plan,
      time,
      network,
      random: this.#randomness.stream('kinesis'),
      notes,
      listingLagMs: () => this.#disturbances.staleMs,
      calls: (process, operation) => this.#disturbances.calls(process, operation),
      isUndisturbed: isUndisturbed(plan),
      report,
    })
    const staleness = this.#randomness.stream('staleness')
    this.#dynamodb = new DynamoDBService({
      time,
      network,
      random: this.#randomness.stream('dynamodb'),
      timeoutMs: Math.max(1_000, plan.failoverTime / 3),
      readLagMs: () => staleness() * this.#disturbances.staleMs,
      indexLagMs: () => staleness() * Math.max(plan.indexLagMs ?? 0, this.#disturbances.staleIndexMs),
      writeFaults: this.#writeFaults,
      onSent: (process, request) => {
        this.#lastWrites(process, request)
        return this.#tableWatch.sent(process, request)
      },
      errors: () => this.#disturbances.dynamodbErrors,
      onWrite: (write) => this.#written(write),
    })
    this.#operator = new Operator(this.#dynamodb, this.#kinesis)
    const worker = (process: SimulatedProcess): FleetMember | undefined =>
      this.#programs.workers.find((each) => each.process === process)
    this.#tableWatch = new TableWatch({
      nowMs: () => time.nowMs,
      failoverTime: plan.failoverTime,
      wayMs: plan.wayMs,
      intervals: (process) => intervalsOf(worker(process), plan),
      foreignUntilMs: plan.formerTable?.livesUntilMs ?? 0,
      hasIndex: plan.formerTable?.hasIndex ?? true,
      isClosing: (process) => worker(process)?.isClosing ?? true,
      quietSinceMs: () => this.#disturbances.quietSinceMs,
      report,
    })
    this.#itemWitness = new ItemWitness({ nowMs: () => time.nowMs, handoffMs: longestHandoff(plan), report })
    this.#promptness = new Promptness({
      plan,
      time,
      openShards: () => openShardsOf(this.#kinesis, this.#streams),
      workers: () => this.#programs.workers,
      report,
    })
    const parts = {
      plan,
      time,
      trace: this.#trace,
      kinesis: this.#kinesis,
      dynamodb: this.#dynamodb,
      streams: this.#streams,
    }
    this.#programs = new Programs({
      ...parts,
      randomness: this.#randomness,
      disturbances: this.#disturbances,
      writeFaults: this.#writeFaults,
      report,
      onChange: (change, changed) => this.#promptness.happened(change, changed),
      onFailure: (worker, error) => this.#failed(worker, error),
    })
    this.#recovery = new Recovery({
      ...parts,
      programs: this.#programs,
      writerOf: (key) => this.#writers.get(key),
      report,
    })
  }

  async run(): Promise<Outcome> {
    const onUnhandled = (error: unknown): void =>
      this.#object('keeps going', `a rejection that nobody handles: ${describeError(error)}`)
    process.on('unhandledRejection', onUnhandled)
    const restoreAbortSignals = lightenAbortSignals()
    try {
      this.#schedule()
      await this.#time.run(() => this.#isOver || this.#violation !== undefined)
      if (!this.#isOver && this.#violation === undefined) this.#object('keeps going', 'nothing happens any more')
    } finally {
      restoreAbortSignals()
      process.off('unhandledRejection', onUnhandled)
    }
    return {
      violation: this.#violation,
      virtualMs: this.#time.nowMs,
      happenings: this.#time.count,
      puts: this.#streams.sum(({ witness }) => witness.puts),
      acknowledged: this.#streams.sum(({ witness }) => witness.count('acknowledged')),
      repeated: this.#streams.sum(({ witness }) => witness.repeated),
      expired: this.#streams.sum(({ leaseWitness }) => leaseWitness.expired),
      steadyAfterMs: this.#recovery.steadyAfterMs,
      slowestMs: new Map([
        ...this.#promptness.slowestMs,
        ...(this.#plan.isPrompt ? [['handoff', this.#itemWitness.longestHandoffMs] as const] : []),
      ]),
      writes: this.#tableWatch.counts,
      struck: this.#writeFaults.struck,
      subscriptions: this.#kinesis.fanOut.counts,
      handled: this.#programs.handled,
      digest: this.#trace.digest,
      trace: this.#trace.lines,
    }
  }

  #schedule(): void {
    const { formerTable } = this.#plan
    if (formerTable !== undefined) {
      leaveTable(formerTable, {
        time: this.#time,
        random: this.#randomness.stream('former table'),
        failoverTime: this.#plan.failoverTime,
        dynamodb: this.#dynamodb,
        kinesis: this.#kinesis,
        stored: this.#streams.main.stored,
        onHandled: (record) => this.#streams.main.witness.handledElsewhere(record),
      })
    }
    for (const fault of this.#plan.faults) this.#time.at(fault.atMs, () => this.#strike(fault))
    this.#checkMemory()
    if (this.#plan.processing !== undefined) this.#checkStatus()
    this.#time.at(endOf(this.#plan), () => void this.#recover())
  }

  async #recover(): Promise<void> {
    await this.#recovery.run()
    this.#isOver = true
  }

  #strike(fault: Fault): void {
    this.#trace.add('world', describeFault(fault))
    switch (fault.kind) {
      case 'kill':
        this.#programs.kill(fault)
        break
      case 'leave':
        this.#programs.leave(fault)
        break
      case 'pause':
        this.#programs.pause(fault)
        break
      case 'killAtWrite':
        this.#programs.killAtWrite(fault)
        break
      case 'pauseAtWrite':
        this.#programs.pauseAtWrite(fault)
        break
      case 'clock':
        this.#programs.setClock(fault)
        break
      case 'operator':
        this.#operator.act(fault)
        this.#operatedMs = this.#time.nowMs
        break
      case 'reshard':
        this.#kinesis.changes.reshard(fault.act, fault.where)
        break
      case 'distribution':
        if (this.#kinesis.changes.distribute(fault.to) && fault.to === 'AUTO') this.#streams.main.witness.disorder()
        break
      case 'deregister':
        for (const { name } of this.#streams.all) this.#kinesis.fanOut.deregisterAll(name)
        break
      case 'hold':
        this.#programs.hold(fault)
        break
      case 'reset':
        this.#programs.reset(fault)
        break
      case 'damaged':
        this.#kinesis.damage(fault.count)
        break
      case 'recordSize':
        this.#kinesis.changes.limitRecords(fault.maxRecordKiB)
        break
      default:
        this.#time.after(fault.forMs, this.#begin(fault))
    }
  }

  #written(write: LeaseWrite): void {
    const { key, before, after, writer } = write
    if (writer !== undefined) this.#writers.set(key, writer)
    if (key === LEADER_KEY) this.#tableWatch.lockWritten(after)
    if (!isLeaseKey(key)) return
    const { stream, shardId } = placeOfLease(key)
    if (writer !== undefined) this.#programs.witnessOf(writer)?.wrote(stream, shardId)
    this.#streams.of(stream).leaseWitness.written({ ...write, key: shardId })
    this.#itemWitness.written(write)
    this.#tableWatch.leaseWritten(write)
    if (before === undefined && after !== undefined && this.#plan.hasStrangeAttributes) {
      this.#time.after(0, () => this.#operator.plant(key))
    }
  }

  #lastWrites(process: SimulatedProcess, { key, write }: TableRequest): void {
    if (key === undefined || (write !== 'shardEnd' && write !== 'release' && write !== 'handoffRelease')) return
    const { stream, shardId } = placeOfLease(key)
    this.#programs.witnessOf(process)?.writes(stream, shardId, write === 'shardEnd' ? 'end' : 'release')
  }

  /** Returns what ends it. */
  #begin(fault: Extract<Fault, { readonly forMs: number }>): () => void {
    if (fault.kind === 'errors' && fault.service === 'kinesis') {
      return this.#kinesis.disturb(fault.error, fault.probability)
    }
    if (fault.kind === 'subscription') return this.#kinesis.fanOut.disturb(fault)
    this.#disturbances.begin(fault)
    return () => this.#disturbances.end(fault)
  }

  #failed(worker: FleetMember, error: unknown): void {
    const { formerTable, failoverTime } = this.#plan
    const isRefused = (error as { code?: unknown }).code === 'ERR_TABLE'
    // It may find out that the others are gone only when nothing has moved for a while, be it by hand.
    const movedMs = Math.max(formerTable?.livesUntilMs ?? 0, formerTable?.isOf3x === false ? this.#operatedMs : 0)
    const { code } = error as { code?: unknown }
    if (this.#endsByItself(code, error)) {
      this.#trace.add('world', `${worker.process.name} ends: ${(error as Error).message}`)
      this.#programs.startAgain(worker, MISSED_MS)
    } else if (code === 'ERR_CONSUMER' && isDeregisteredByArn(this.#plan)) {
      this.#trace.add('world', `${worker.process.name} misses its consumer: ${(error as Error).message}`)
      this.#programs.startAgain(worker, MISSED_MS)
    } else if (isRefused && this.#time.nowMs < movedMs + failoverTime) {
      this.#trace.add('world', `${worker.process.name} refuses the table: ${(error as Error).message}`)
      this.#programs.startAgain(worker, failoverTime)
    } else {
      this.#object('keeps going', `${worker.process.name} ended: ${describeError(error)}`)
    }
  }

  /** Its shard has stopped and it was told to end then; or its loop over the records was left by what happened in it. */
  #endsByItself(code: unknown, error: unknown): boolean {
    const { exits, shape } = this.#plan.processing ?? {}
    return (code === 'ERR_STOPPED' && exits === true) || (shape === 'records' && error instanceof HandlerFailure)
  }

  #checkMemory(): void {
    for (const program of [...this.#programs.producers, ...this.#programs.workers]) {
      if (program.excessBytes > 0) {
        this.#object('memory is bounded', `${program.process.name} holds ${program.excessBytes} bytes more than it may`)
      }
    }
    this.#time.after(LOOK_MS, () => this.#checkMemory())
  }

  #checkStatus(): void {
    for (const worker of this.#programs.workers) {
      if (worker.process.isStopped || worker.wrongStatus === undefined) continue
      this.#object('status says how it is', `${worker.process.name} says: ${worker.wrongStatus}`)
    }
    this.#time.after(LOOK_MS, () => this.#checkStatus())
  }

  #object(invariant: Invariant, message: string): void {
    this.#report(new Violation(invariant, message))
  }

  #report(violation: Violation): void {
    this.#trace.add('world', `BROKEN: ${violation.invariant}: ${violation.message}`)
    this.#violation ??= violation
  }
}

/** When the last fault has passed. */
function endOf({ durationMs, faults, workers }: Plan): number {
  return Math.max(
    durationMs,
    ...workers.map(({ startMs }) => startMs),
    ...faults.map((fault) => {
      const lastsMs = 'forMs' in fault ? fault.forMs : 'restartMs' in fault ? fault.restartMs : 0
      return fault.atMs + lastsMs
    }),
  )
}

/** What neither moves a shard between workers nor has the service refuse reads. */
const CALM_READING: ReadonlySet<Fault['kind']> = new Set([
  'reshard',
  'calls',
  'distribution',
  'recordSize',
  'handlers',
  'letters',
  'hooks',
  'hold',
  'staleIndex',
])

function isUndisturbed({ workers, faults, formerTable }: Plan): boolean {
  return workers.length === 1 && formerTable === undefined && faults.every(({ kind }) => CALM_READING.has(kind))
}

function intervalsOf(
  worker: FleetMember | undefined,
  { failoverTime }: Plan,
): { checkpointMs: number; renewalMs: number } {
  // It is leaving.
  if (worker === undefined) return { checkpointMs: 0, renewalMs: 0 }
  return {
    checkpointMs: worker.plan.checkpointIntervalMs ?? failoverTime / 3,
    renewalMs: 0.45 * failoverTime,
  }
}

/** Its holder sees it at its next renewal, finishes what is in hand, and writes. */
function longestHandoff(plan: Plan): number {
  const { faults, failoverTime, wayMs, workers } = plan
  if (!faults.every(({ kind }) => GENTLE.has(kind)) || !isHandledWithoutFailure(plan)) return Number.POSITIVE_INFINITY
  const handlersMs = Math.max(
    ...workers.map(({ handlerMs, closeTimeout = DEFAULT_CLOSE_MS }) => Math.min(2 * handlerMs, closeTimeout)),
  )
  return 0.5 * failoverTime + handlersMs + HANDOFF_REQUESTS * wayMs + HANDOFF_SLACK_MS
}

function describeError(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
