import type { ConsumerOptions, InitialPosition } from '@shardwise/consumer'
import type { Disturbances } from './disturbances.ts'
import type { DynamoDBService } from './dynamodb-service.ts'
import { type Fault, LEADER_PLACE } from './faults.ts'
import { ForeignWorker } from './foreign-worker.ts'
import { type KinesisService, SIDE_STREAM, STREAM } from './kinesis-service.ts'
import type { Plan, ProducerPlan, WorkerPlan } from './plan.ts'
import { EPOCH_MS, RESETTER, SimulatedProcess } from './process.ts'
import type { HandlingFate, Policy, ProcessingWitness } from './processing-witness.ts'
import { ProducerWitness } from './producer-witness.ts'
import type { FleetChange } from './promptness.ts'
import { between, type Randomness } from './randomness.ts'
import { SimulatedProducer } from './simulated-producer.ts'
import { resetApplication } from './simulated-reset.ts'
import { type FleetMember, SimulatedWorker } from './simulated-worker.ts'
import { LEADER_KEY } from './table-requests.ts'
import type { Trace } from './trace.ts'
import type { Violation } from './violation.ts'
import type { VirtualTime } from './virtual-time.ts'
import type { WatchedStreams } from './watched-streams.ts'
import type { WriteFaults } from './write-faults.ts'

export interface ProgramsOptions {
  readonly plan: Plan
  readonly time: VirtualTime
  readonly randomness: Randomness
  readonly trace: Trace
  readonly kinesis: KinesisService
  readonly dynamodb: DynamoDBService
  readonly disturbances: Disturbances
  readonly streams: WatchedStreams
  readonly writeFaults: WriteFaults
  readonly report: (violation: Violation) => void
  /** Something is about to happen to a worker, or one has just started. */
  readonly onChange: (change: FleetChange, worker: FleetMember) => void
  /** A worker ended by itself. */
  readonly onFailure: (worker: FleetMember, error: unknown) => void
}

/** How far monotonic clocks run wrong at most, either way. */
const CLOCK_DRIFT = 0.001
const WALL_OFFSET_MS = 120_000

/** With longer ways records of one key queue up behind each other. */
const SHORT_WAY_MS = 6

type Program = SimulatedProducer | FleetMember

/** Who runs at a place now. */
interface Place<At> {
  program: At | undefined
  starts: number
}

/** The producers and workers of a plan: starts them, and lets them die, pause, or leave and start again. */
export class Programs {
  readonly #options: ProgramsOptions
  readonly #producers = new Map<string, Place<SimulatedProducer>>()
  readonly #workers = new Map<string, Place<FleetMember>>()
  /** Programs that are about to end; each starts anew afterwards. */
  readonly #leaving = new Set<Promise<void>>()
  /** Of every worker that there was. */
  readonly #witnesses = new WeakMap<SimulatedProcess, ProcessingWitness>()
  readonly #handled = new Map<HandlingFate, number>()
  /** Workers that are to start when a reset is over; undefined if none is under way. */
  #heldBack: (() => void)[] | undefined
  #resets = 0
  #isCalm = false

  constructor(options: ProgramsOptions) {
    this.#options = options
    const { plan, time } = options
    for (const producer of plan.producers) {
      this.#producers.set(producer.place, { program: undefined, starts: 0 })
      time.at(0, () => this.#startProducer(producer))
    }
    for (const worker of plan.workers) {
      this.#workers.set(worker.place, { program: undefined, starts: 0 })
      time.at(worker.startMs, () => this.#startWorker(worker, worker.place))
    }
  }

  get producers(): SimulatedProducer[] {
    return running(this.#producers)
  }

  get workers(): FleetMember[] {
    return running(this.#workers)
  }

  get leaving(): ReadonlySet<Promise<void>> {
    return this.#leaving
  }

  /** From now on nobody dies or pauses any more. */
  calmDown(): void {
    this.#isCalm = true
    this.#options.writeFaults.disarm()
  }

  /** What has come of handling, over all workers. */
  get handled(): ReadonlyMap<HandlingFate, number> {
    return this.#handled
  }

  /** Who looks at what a worker does with its records; undefined if it isn't ours. */
  witnessOf(process: SimulatedProcess): ProcessingWitness | undefined {
    return this.#witnesses.get(process)
  }

  /** Where the worker is that leads now; undefined if none does. */
  get leaderPlace(): string | undefined {
    const lock = this.#options.dynamodb.items().find(({ leaseKey }) => leaseKey?.S === LEADER_KEY)
    const found = [...this.#workers].find(([, { program }]) => program?.workerId === lock?.ownerName?.S)
    return found?.[0]
  }

  /** A worker that has ended by itself comes again. */
  startAgain(worker: FleetMember, afterMs: number): void {
    const place = this.#placeOf(worker)
    if (place === undefined) return
    this.#vacate(place)
    this.#options.time.after(afterMs, () => this.#restart(place, true))
  }

  /** Workers that were started with what isn't the application's policy any more leave, and come back with what is. */
  redeploy(): void {
    for (const [place, { program }] of this.#workers) {
      if (
        !(program instanceof SimulatedWorker) ||
        program.policy === policyOf(this.#options.plan, this.#options.time.nowMs)
      )
        continue
      program.process.enter(() => this.leave({ kind: 'leave', atMs: 0, place, restartMs: 0, keepsName: true }))
    }
  }

  hold({ place, share, forMs, isInHandler }: Extract<Fault, { kind: 'hold' }>): void {
    const program = this.#programAt(place)
    if (!(program instanceof SimulatedWorker) || program.isClosing) return
    const hold = (): void => {
      const goOn = program.hold(share)
      this.#options.time.after(forMs, () => program.process.enter(goOn))
    }
    program.process.enter(() => (isInHandler ? program.inNextHandler(hold) : hold()))
  }

  /** Nobody starts meanwhile. */
  reset(fault: Extract<Fault, { kind: 'reset' }>): void {
    if (this.#heldBack !== undefined) return
    const heldBack: (() => void)[] = []
    this.#heldBack = heldBack
    const done = this.#reset(fault).then(() => {
      this.#leaving.delete(done)
      this.#heldBack = undefined
      for (const start of heldBack) start()
    })
    this.#leaving.add(done)
  }

  async #reset(fault: Extract<Fault, { kind: 'reset' }>): Promise<void> {
    const others = new Set(this.#leaving)
    for (const place of this.#workers.keys()) {
      this.leave({ kind: 'leave', atMs: 0, place, restartMs: 0, keepsName: true })
    }
    await Promise.all([...this.#leaving].filter((left) => !others.has(left)))
    const { plan } = this.#options
    const process = this.#newProcess(`${RESETTER}${++this.#resets}`)
    await resetApplication(process, fault, {
      ...this.#options,
      failoverTime: plan.failoverTime,
      nowMs: () => this.#options.time.nowMs,
      selection: selectionOf(plan, this.#options.streams),
    })
  }

  kill({ place, afterSends, restartMs, renamed }: Extract<Fault, { kind: 'kill' }>): void {
    const program = this.#programAt(place)
    program?.process.afterSends(afterSends, () => this.#die(program, { restartMs, renamed }))
  }

  killAtWrite(fault: Extract<Fault, { kind: 'killAtWrite' }>): void {
    this.#options.writeFaults.arm(fault, (process) => {
      const program = this.workers.find((worker) => worker.process === process)
      if (program !== undefined) this.#die(program, fault)
    })
  }

  pause(fault: Extract<Fault, { kind: 'pause' }>): void {
    const program = this.#programAt(fault.place)
    program?.process.afterSends(fault.afterSends, () => this.#pause(program.process, fault))
  }

  pauseAtWrite(fault: Extract<Fault, { kind: 'pauseAtWrite' }>): void {
    this.#options.writeFaults.arm(fault, (process) => this.#pause(process, fault))
  }

  setClock({ place, byMs }: Extract<Fault, { kind: 'clock' }>): void {
    this.#programAt(place)?.process.setClock(byMs)
  }

  leave({ place: given, restartMs, keepsName = false }: Extract<Fault, { kind: 'leave' }>): void {
    const program = this.#programAt(given)
    const place = program && this.#placeOf(program)
    if (program === undefined || place === undefined || program.process.isStopped) return
    if (isWorker(program)) this.#options.onChange('close', program)
    this.#vacate(place)
    const left = isWorker(program) ? program.close() : program.end()
    this.#leaving.add(left)
    // Two programs of one name never run at once.
    void left.then(() => {
      this.#leaving.delete(left)
      this.#options.time.after(restartMs, () => this.#restart(place, !keepsName))
    })
  }

  #die(program: Program, { restartMs, renamed }: { readonly restartMs: number; readonly renamed: boolean }): void {
    const place = this.#placeOf(program)
    // It may have left, or been told to, in the meantime.
    if (this.#isCalm || place === undefined) return
    this.#options.trace.add('world', `${program.process.name} dies`)
    if (isWorker(program)) {
      this.#options.onChange(place === this.leaderPlace ? 'killLeader' : 'kill', program)
    }
    program.process.kill()
    this.#vacate(place)
    this.#options.time.after(restartMs, () => this.#restart(place, renamed))
  }

  #pause(
    process: SimulatedProcess,
    { forMs, isSuspended }: { readonly forMs: number; readonly isSuspended?: boolean },
  ): void {
    if (this.#isCalm) return
    this.#options.trace.add('world', `${process.name} is paused`)
    if (isSuspended) process.suspend(forMs)
    else process.pause(forMs)
  }

  #restart(place: string, renamed: boolean): void {
    const producer = this.#options.plan.producers.find((each) => each.place === place)
    if (producer !== undefined) this.#startProducer(producer)
    const worker = this.#options.plan.workers.find((each) => each.place === place)
    if (worker === undefined) return
    const { starts } = this.#workers.get(place)!
    this.#startWorker(worker, renamed ? `${place}-${starts}` : place)
  }

  #startProducer(plan: ProducerPlan): void {
    const place = this.#producers.get(plan.place)!
    const process = this.#newProcess(`${plan.place}#${++place.starts}`)
    const { kinesis, streams, trace, report, plan: whole } = this.#options
    const isRefused = (fault: Fault): boolean =>
      fault.kind === 'calls' && fault.operation === 'DescribeStreamSummary' && fault.act === 'denied'
    const witness = new ProducerWitness({
      process,
      plan,
      kinesis,
      streamWitness: streams.main.witness,
      sideWitness: streams.side.witness,
      mayDescribe: !plan.denied?.includes('DescribeStreamSummary') && !whole.faults.some(isRefused),
      isUnhindered: whole.wayMs <= SHORT_WAY_MS && whole.faults.every(({ kind }) => kind === 'calls') && isPlain(plan),
      isCalm: () => this.#isCalm,
      isSwamped: isSwamped(plan, whole),
      report,
    })
    place.program = new SimulatedProducer(process, plan, whole.keysPerProducer, { kinesis, witness, trace })
  }

  #startWorker(plan: WorkerPlan, workerId: string): void {
    if (this.#heldBack !== undefined) {
      this.#heldBack.push(() => this.#startWorker(plan, workerId))
      return
    }
    const place = this.#workers.get(plan.place)!
    const process = this.#newProcess(`${workerId}#${++place.starts}`)
    const worker = plan.isForeign
      ? this.#foreignWorker(process, workerId, plan)
      : this.#ownWorker(process, workerId, plan, place.starts)
    place.program = worker
    this.#options.onChange('join', worker)
  }

  #foreignWorker(process: SimulatedProcess, workerId: string, plan: WorkerPlan): FleetMember {
    const { plan: whole, streams } = this.#options
    return new ForeignWorker(process, workerId, plan, { ...this.#options, ...whole, stored: streams.main.stored })
  }

  #ownWorker(process: SimulatedProcess, workerId: string, plan: WorkerPlan, starts: number): FleetMember {
    const by = plan.retrieval?.[(starts - 1) % plan.retrieval.length]
    const { plan: whole, time } = this.#options
    const worker: SimulatedWorker = new SimulatedWorker(process, workerId, plan, {
      kinesis: this.#options.kinesis,
      dynamodb: this.#options.dynamodb,
      streams: this.#options.streams,
      selection: selectionOf(whole, this.#options.streams),
      disturbances: this.#options.disturbances,
      trace: this.#options.trace,
      nowMs: () => time.nowMs,
      failoverTime: whole.failoverTime,
      initialPosition: initialPositionOf(whole),
      processing: whole.processing,
      policy: policyOf(whole, time.nowMs),
      largestRecordBytes: Math.max(...whole.producers.map(({ largeBytes = 0 }) => largeBytes)),
      note: (fate) => this.#handled.set(fate, (this.#handled.get(fate) ?? 0) + 1),
      report: this.#options.report,
      retrieval: by,
      consumerArn:
        by === 'fanOut' && whole.fanOut?.isByArn ? this.#options.kinesis.fanOut.registered(STREAM) : undefined,
      onFailure: (error) => this.#options.onFailure(worker, error),
    })
    this.#witnesses.set(process, worker.processing)
    return worker
  }

  #newProcess(name: string): SimulatedProcess {
    this.#options.trace.add('world', `${name} starts`)
    const { plan } = this.#options
    const random = this.#options.randomness.stream(name)
    return new SimulatedProcess({
      time: this.#options.time,
      random,
      name,
      clockRate: 1 + between(random, -CLOCK_DRIFT, CLOCK_DRIFT),
      wallOffsetMs: between(random, -WALL_OFFSET_MS, WALL_OFFSET_MS) * (plan.isPrompt ? 0 : 1),
    })
  }

  #placeOf(program: Program): string | undefined {
    return [...this.#producers, ...this.#workers].find(([, place]) => place.program === program)?.[0]
  }

  #programAt(given: string): Program | undefined {
    const place = (given === LEADER_PLACE ? this.leaderPlace : given) ?? ''
    return this.#producers.get(place)?.program ?? this.#workers.get(place)?.program
  }

  #vacate(place: string): void {
    const found = this.#producers.get(place) ?? this.#workers.get(place)
    if (found !== undefined) found.program = undefined
  }
}

/** What an application is told of its streams: what they are now, whenever it asks. */
function selectionOf(
  { streams: given }: Plan,
  streams: WatchedStreams,
): Pick<ConsumerOptions, 'stream' | 'streams' | 'formerStreamWaitMs'> {
  if (given === undefined) return { stream: STREAM }
  const { by, formerStreamWaitMs } = given
  const names = (): string[] => streams.read.map(({ name }) => name)
  if (by === 'list') return { streams: [STREAM, SIDE_STREAM], formerStreamWaitMs }
  if (by === 'function') return { streams: names, formerStreamWaitMs }
  return { streams: { where: ({ name }) => names().includes(name) }, formerStreamWaitMs }
}

/** At what can't be read a shard would stop for ever. */
function policyOf({ processing, faults }: Plan, nowMs: number): Policy {
  const { policy = 'stop', mendedAtMs = 0 } = processing ?? {}
  const isMended = policy === 'stop' && nowMs >= mendedAtMs && faults.some(({ kind }) => kind === 'damaged')
  return isMended ? 'deadLetter' : policy
}

function initialPositionOf({ initialPosition = 'TRIM_HORIZON', startAtMs = 0 }: Plan): InitialPosition {
  return initialPosition === 'AT_TIMESTAMP' ? { timestamp: EPOCH_MS + startAtMs } : initialPosition
}

/** Whether records that go alone, and one at a time of a key, come faster than a good half of the ways there and back take. */
function isSwamped({ aggregation, gapMs, burst }: ProducerPlan, { wayMs, keysPerProducer }: Plan): boolean {
  const putsPerSecond = (1_000 * (1 + burst)) / 2 / gapMs
  return aggregation === false && (putsPerSecond / keysPerProducer) * 2 * wayMs > 1_000
}

/** Whether a producer only puts what any stream takes, and not much. */
function isPlain({ paddingBytes, largeBytes, keylessShare }: ProducerPlan): boolean {
  return paddingBytes === 0 && largeBytes === undefined && keylessShare === undefined
}

function isWorker(program: Program): program is FleetMember {
  return !(program instanceof SimulatedProducer)
}

function running<At>(places: ReadonlyMap<string, Place<At>>): At[] {
  return [...places.values()].flatMap(({ program }) => (program === undefined ? [] : [program]))
}
