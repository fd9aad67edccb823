import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { Disturbances } from './disturbances.ts'
import { DynamoDBService, TABLE } from './dynamodb-service.ts'
import { KinesisService } from './kinesis-service.ts'
import { LeaseWitness } from './lease-witness.ts'
import { Network } from './network.ts'
import { describeFault, type Fault, type Plan, type ProducerPlan, type WorkerPlan } from './plan.ts'
import { SimulatedProcess } from './process.ts'
import { between, Randomness } from './randomness.ts'
import { SimulatedProducer } from './simulated-producer.ts'
import { SimulatedWorker } from './simulated-worker.ts'
import { StoredStream } from './stored-stream.ts'
import { StreamWitness } from './stream-witness.ts'
import { Trace } from './trace.ts'
import { type Invariant, Violation } from './violation.ts'
import { VirtualTime } from './virtual-time.ts'

type Item = Readonly<Record<string, AttributeValue>>

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
  readonly digest: string
  readonly trace: readonly string[]
}

/** How far clocks run wrong: ten times what a machine without any synchronisation does. */
const CLOCK_DRIFT = 0.001
const WALL_OFFSET_MS = 120_000
/** Puts go on for so long after the last fault. */
const AFTERMATH_MS = 3_000
const LOOK_MS = 250
/**
 * How long after the last fault everything may take to be well: what backs off longest are handlers that fail (30 s) and
 * requests without an answer (30 s), one may follow the other, and a dead worker's leases move after some failover times.
 */
const STEADY_MS = 90_000
const STEADY_FAILOVERS = 6
/** How long closing may take: the handlers' time, and the last writes. */
const CLOSE_MS = 30_000

/** Who runs at a place now. */
interface Place<Program> {
  program: Program | undefined
  starts: number
}

/** One run of a {@link Plan}: the real producers and consumers over modelled services, watched by witnesses. */
export class World {
  readonly #plan: Plan
  readonly #randomness: Randomness
  readonly #time: VirtualTime
  readonly #trace: Trace
  readonly #disturbances = new Disturbances()
  readonly #stored: StoredStream
  readonly #streamWitness: StreamWitness
  readonly #leaseWitness: LeaseWitness
  readonly #kinesis: KinesisService
  readonly #dynamodb: DynamoDBService
  readonly #producers = new Map<string, Place<SimulatedProducer>>()
  readonly #workers = new Map<string, Place<SimulatedWorker>>()
  /** Programs that are about to end; each starts anew afterwards. */
  readonly #leaving = new Set<Promise<void>>()
  #violation: Violation | undefined
  #steadyAfterMs = 0
  /** No more faults. */
  #isCalm = false
  #isOver = false

  constructor(plan: Plan, { keepTrace = false }: { readonly keepTrace?: boolean } = {}) {
    this.#plan = plan
    this.#randomness = new Randomness(plan.seed)
    const time = new VirtualTime(this.#randomness.stream('order'))
    this.#time = time
    this.#trace = new Trace(() => time.nowMs, { keep: keepTrace })
    this.#stored = new StoredStream(plan.retentionMs)
    const report = (violation: Violation): void => this.#report(violation)
    this.#streamWitness = new StreamWitness(this.#stored, () => time.nowMs, report)
    this.#leaseWitness = new LeaseWitness(this.#stored, () => time.nowMs, report)
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
      stored: this.#stored,
      onStored: (record) => this.#streamWitness.stored(record),
      listingLagMs: () => this.#disturbances.staleMs,
    })
    const staleness = this.#randomness.stream('staleness')
    this.#dynamodb = new DynamoDBService({
      time,
      network,
      random: this.#randomness.stream('dynamodb'),
      timeoutMs: Math.max(1_000, plan.failoverTime / 3),
      readLagMs: () => staleness() * this.#disturbances.staleMs,
      errors: () => this.#disturbances.dynamodbErrors,
      onWrite: (write) => this.#leaseWitness.written(write),
    })
  }

  async run(): Promise<Outcome> {
    const onUnhandled = (error: unknown): void =>
      this.#object('keeps going', `a rejection that nobody handles: ${describeError(error)}`)
    process.on('unhandledRejection', onUnhandled)
    try {
      this.#schedule()
      await this.#time.run(() => this.#isOver || this.#violation !== undefined)
      if (!this.#isOver && this.#violation === undefined) this.#object('keeps going', 'nothing happens any more')
    } finally {
      process.off('unhandledRejection', onUnhandled)
    }
    return {
      violation: this.#violation,
      virtualMs: this.#time.nowMs,
      happenings: this.#time.count,
      puts: this.#streamWitness.puts,
      acknowledged: this.#streamWitness.count('acknowledged'),
      repeated: this.#streamWitness.repeated,
      expired: this.#leaseWitness.expired,
      steadyAfterMs: this.#steadyAfterMs,
      digest: this.#trace.digest,
      trace: this.#trace.lines,
    }
  }

  #schedule(): void {
    const { producers, workers, faults } = this.#plan
    for (const producer of producers) {
      this.#producers.set(producer.place, { program: undefined, starts: 0 })
      this.#time.at(0, () => this.#startProducer(producer))
    }
    for (const worker of workers) {
      this.#workers.set(worker.place, { program: undefined, starts: 0 })
      this.#time.at(worker.startMs, () => this.#startWorker(worker, worker.place))
    }
    for (const fault of faults) this.#time.at(fault.atMs, () => this.#strike(fault))
    this.#checkMemory()
    this.#time.at(endOf(this.#plan), () => void this.#becomeWell())
  }

  #strike(fault: Fault): void {
    this.#trace.add('world', describeFault(fault))
    switch (fault.kind) {
      case 'kill':
        this.#kill(fault)
        break
      case 'leave':
        this.#leave(fault)
        break
      case 'pause':
        this.#pause(fault)
        break
      case 'reshard':
        this.#kinesis.reshard(fault.act, fault.where)
        break
      default:
        this.#time.after(fault.forMs, this.#begin(fault))
    }
  }

  /** Returns what ends it. */
  #begin(fault: Extract<Fault, { readonly forMs: number }>): () => void {
    if (fault.kind === 'errors' && fault.service === 'kinesis') {
      return this.#kinesis.disturb(fault.error, fault.probability)
    }
    this.#disturbances.begin(fault)
    return () => this.#disturbances.end(fault)
  }

  #kill({ place, afterSends, restartMs, renamed }: Extract<Fault, { kind: 'kill' }>): void {
    const program = this.#programAt(place)
    program?.process.afterSends(afterSends, () => {
      // It may have left, or been told to, in the meantime.
      if (this.#isCalm || this.#programAt(place) !== program) return
      this.#trace.add('world', `${program.process.name} dies`)
      program.process.kill()
      this.#vacate(place)
      this.#time.after(restartMs, () => this.#restart(place, renamed))
    })
  }

  #pause({ place, afterSends, forMs }: Extract<Fault, { kind: 'pause' }>): void {
    const program = this.#programAt(place)
    program?.process.afterSends(afterSends, () => {
      if (this.#isCalm) return
      this.#trace.add('world', `${program.process.name} is paused`)
      program.process.pause(forMs)
    })
  }

  #leave({ place, restartMs }: Extract<Fault, { kind: 'leave' }>): void {
    const program = this.#programAt(place)
    if (program === undefined || program.process.isStopped) return
    this.#vacate(place)
    const left = program instanceof SimulatedWorker ? program.close() : program.end()
    this.#leaving.add(left)
    // Two programs of one name never run at once.
    void left.then(() => {
      this.#leaving.delete(left)
      this.#time.after(restartMs, () => this.#restart(place, true))
    })
  }

  #restart(place: string, renamed: boolean): void {
    const producer = this.#plan.producers.find((each) => each.place === place)
    if (producer !== undefined) this.#startProducer(producer)
    const worker = this.#plan.workers.find((each) => each.place === place)
    if (worker === undefined) return
    const { starts } = this.#workers.get(place)!
    this.#startWorker(worker, renamed ? `${place}-${starts}` : place)
  }

  #startProducer(plan: ProducerPlan): void {
    const place = this.#producers.get(plan.place)!
    const process = this.#newProcess(`${plan.place}#${++place.starts}`)
    place.program = new SimulatedProducer(process, plan, this.#plan.keysPerProducer, {
      kinesis: this.#kinesis,
      witness: this.#streamWitness,
      trace: this.#trace,
    })
  }

  #startWorker(plan: WorkerPlan, workerId: string): void {
    const place = this.#workers.get(plan.place)!
    const process = this.#newProcess(`${workerId}#${++place.starts}`)
    place.program = new SimulatedWorker(process, workerId, plan, {
      kinesis: this.#kinesis,
      dynamodb: this.#dynamodb,
      witness: this.#streamWitness,
      disturbances: this.#disturbances,
      trace: this.#trace,
      failoverTime: this.#plan.failoverTime,
      onExpiry: (shardId) => this.#leaseWitness.expiryTold(shardId),
      onFailure: (error) => this.#object('keeps going', `${process.name} ended: ${describeError(error)}`),
    })
  }

  #newProcess(name: string): SimulatedProcess {
    this.#trace.add('world', `${name} starts`)
    const random = this.#randomness.stream(name)
    return new SimulatedProcess({
      time: this.#time,
      random,
      name,
      clockRate: 1 + between(random, -CLOCK_DRIFT, CLOCK_DRIFT),
      wallOffsetMs: between(random, -WALL_OFFSET_MS, WALL_OFFSET_MS),
    })
  }

  #programAt(place: string): SimulatedProducer | SimulatedWorker | undefined {
    return this.#producers.get(place)?.program ?? this.#workers.get(place)?.program
  }

  #vacate(place: string): void {
    const found = this.#producers.get(place) ?? this.#workers.get(place)
    if (found !== undefined) found.program = undefined
  }

  #checkMemory(): void {
    for (const program of [...running(this.#producers), ...running(this.#workers)]) {
      if (program.excessBytes > 0) {
        this.#object('memory is bounded', `${program.process.name} holds ${program.excessBytes} bytes more than it may`)
      }
    }
    this.#time.after(LOOK_MS, () => this.#checkMemory())
  }

  /** The faults are over: puts end, everything is handled, the fleet is even, and everybody closes. */
  async #becomeWell(): Promise<void> {
    const calmMs = this.#time.nowMs
    this.#isCalm = true
    this.#trace.add('world', 'the faults are over')
    const settleMs = 2 * Math.max(...this.#plan.producers.map(({ recordTtl }) => recordTtl)) + CLOSE_MS
    await this.#within(
      Promise.all(this.#leaving),
      settleMs,
      'close gives back',
      () => `${this.#leaving.size} programs did not close`,
    )
    await this.#time.sleep(AFTERMATH_MS + longestRestart(this.#plan))
    const producers = running(this.#producers)
    const closed = Promise.all(producers.map((producer) => producer.end()))
    await this.#within(
      closed,
      settleMs,
      'puts settle',
      () => `unsettled after close: ${this.#streamWitness.unsettled().slice(0, 5).join(', ')}`,
    )
    const unsettled = this.#streamWitness.unsettled()
    if (unsettled.length > 0) this.#object('puts settle', `unsettled after close: ${unsettled.slice(0, 5).join(', ')}`)
    await this.#becomeSteady(calmMs)
    await this.#closeWorkers()
    this.#checkRepeats()
    this.#isOver = true
  }

  async #becomeSteady(calmMs: number): Promise<void> {
    const deadlineMs = calmMs + STEADY_MS + STEADY_FAILOVERS * this.#plan.failoverTime
    for (;;) {
      const wrong = this.#whatIsWrong()
      if (wrong === undefined) break
      if (this.#time.nowMs > deadlineMs) {
        this.#object(
          'steady state',
          `${((this.#time.nowMs - calmMs) / 1_000).toFixed(0)} s after the last fault: ${wrong}`,
        )
        return
      }
      await this.#time.sleep(LOOK_MS)
    }
    this.#steadyAfterMs = this.#time.nowMs - calmMs
  }

  #whatIsWrong(): string | undefined {
    for (const shard of this.#stored.shards) {
      const open = this.#stored.firstOpen(shard, this.#time.nowMs)
      if (open !== undefined) return `${open.text} in ${shard.shardId} isn't finished`
    }
    const workers = new Map(running(this.#workers).map((worker) => [worker.workerId, worker]))
    const counts = new Map([...workers.keys()].map((workerId) => [workerId, 0]))
    const leases = new Map(this.#leases().map((lease) => [lease.leaseKey!.S!, lease]))
    for (const shardId of this.#kinesis.openShardIds()) {
      const lease = leases.get(shardId)
      if (lease === undefined) return `${shardId} has no lease`
      if (lease.checkpointOwner !== undefined) return `${shardId} is being handed off`
      const owner = lease.leaseOwner?.S ?? 'nobody'
      const worker = workers.get(owner)
      if (worker === undefined) return `${shardId} is owned by ${owner}`
      if (!worker.shardIds.includes(shardId)) return `${owner} doesn't know that it owns ${shardId}`
      counts.set(owner, counts.get(owner)! + 1)
    }
    if (Math.max(...counts.values()) - Math.min(...counts.values()) > 1) {
      return `the shards are spread unevenly: ${[...counts].map(([owner, count]) => `${owner} ${count}`).join(', ')}`
    }
    return undefined
  }

  async #closeWorkers(): Promise<void> {
    if (this.#violation !== undefined) return
    const workers = running(this.#workers)
    await this.#within(
      Promise.all(workers.map((worker) => worker.close())),
      CLOSE_MS,
      'close gives back',
      () => `${workers.filter(({ isOver }) => !isOver).map(({ workerId }) => workerId)} did not close`,
    )
    const owned = this.#leases().filter(
      ({ checkpoint, leaseOwner, checkpointOwner }) =>
        checkpoint?.S !== 'SHARD_END' && (leaseOwner !== undefined || checkpointOwner !== undefined),
    )
    if (owned.length > 0) {
      this.#object(
        'close gives back',
        `still owned after everybody has closed: ${owned.map(({ leaseKey, leaseOwner }) => `${leaseKey?.S} by ${leaseOwner?.S}`).join(', ')}`,
      )
    }
  }

  /** Handoffs, reshards and good ends are no reason to handle anything twice. */
  #checkRepeats(): void {
    const isGentle = this.#plan.faults.every(({ kind }) => kind === 'reshard' || kind === 'leave')
    const { repeated } = this.#streamWitness
    if (isGentle && repeated > 0) this.#object('nothing again without need', `${repeated} records were handled again`)
  }

  async #within(work: Promise<unknown>, ms: number, invariant: Invariant, what: () => string): Promise<void> {
    const timer = this.#time.after(ms, () => this.#object(invariant, `not within ${ms / 1_000} s: ${what()}`))
    await work
    this.#time.cancel(timer)
  }

  #leases(): Item[] {
    const { Items } = this.#dynamodb.model.execute('Scan', { TableName: TABLE, ConsistentRead: true }) as {
      Items: Item[]
    }
    return Items.filter(({ entityType }) => entityType?.S === 'LEASE')
  }

  #object(invariant: Invariant, message: string): void {
    this.#report(new Violation(invariant, message))
  }

  #report(violation: Violation): void {
    this.#trace.add('world', `BROKEN: ${violation.invariant}: ${violation.message}`)
    this.#violation ??= violation
  }
}

function running<Program>(places: ReadonlyMap<string, Place<Program>>): Program[] {
  return [...places.values()].flatMap(({ program }) => (program === undefined ? [] : [program]))
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

function longestRestart({ faults }: Plan): number {
  return Math.max(0, ...faults.map((fault) => ('restartMs' in fault ? fault.restartMs : 0)))
}

function describeError(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
