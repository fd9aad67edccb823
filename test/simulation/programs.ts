import type { Disturbances } from './disturbances.ts'
import type { DynamoDBService } from './dynamodb-service.ts'
import type { KinesisService } from './kinesis-service.ts'
import type { LeaseWitness } from './lease-witness.ts'
import type { Fault, Plan, ProducerPlan, WorkerPlan } from './plan.ts'
import { SimulatedProcess } from './process.ts'
import { ProducerWitness } from './producer-witness.ts'
import { between, type Randomness } from './randomness.ts'
import { SimulatedProducer } from './simulated-producer.ts'
import { SimulatedWorker } from './simulated-worker.ts'
import type { StreamWitness } from './stream-witness.ts'
import type { Trace } from './trace.ts'
import type { Violation } from './violation.ts'
import type { VirtualTime } from './virtual-time.ts'

export interface ProgramsOptions {
  readonly plan: Plan
  readonly time: VirtualTime
  readonly randomness: Randomness
  readonly trace: Trace
  readonly kinesis: KinesisService
  readonly dynamodb: DynamoDBService
  readonly disturbances: Disturbances
  readonly streamWitness: StreamWitness
  readonly sideWitness: StreamWitness
  readonly leaseWitness: LeaseWitness
  readonly report: (violation: Violation) => void
  /** A worker ended by itself. */
  readonly onFailure: (name: string, error: unknown) => void
}

/** How far monotonic clocks run wrong at most, either way. */
const CLOCK_DRIFT = 0.001
const WALL_OFFSET_MS = 120_000

/** With longer ways records of one key queue up behind each other. */
const SHORT_WAY_MS = 6

/** Who runs at a place now. */
interface Place<Program> {
  program: Program | undefined
  starts: number
}

/** The producers and workers of a plan: starts them, and lets them die, pause, or leave and start again. */
export class Programs {
  readonly #options: ProgramsOptions
  readonly #producers = new Map<string, Place<SimulatedProducer>>()
  readonly #workers = new Map<string, Place<SimulatedWorker>>()
  /** Programs that are about to end; each starts anew afterwards. */
  readonly #leaving = new Set<Promise<void>>()
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

  get workers(): SimulatedWorker[] {
    return running(this.#workers)
  }

  get leaving(): ReadonlySet<Promise<void>> {
    return this.#leaving
  }

  /** From now on nobody dies or pauses any more. */
  calmDown(): void {
    this.#isCalm = true
  }

  kill({ place, afterSends, restartMs, renamed }: Extract<Fault, { kind: 'kill' }>): void {
    const program = this.#programAt(place)
    program?.process.afterSends(afterSends, () => {
      // It may have left, or been told to, in the meantime.
      if (this.#isCalm || this.#programAt(place) !== program) return
      this.#options.trace.add('world', `${program.process.name} dies`)
      program.process.kill()
      this.#vacate(place)
      this.#options.time.after(restartMs, () => this.#restart(place, renamed))
    })
  }

  pause({ place, afterSends, forMs }: Extract<Fault, { kind: 'pause' }>): void {
    const program = this.#programAt(place)
    program?.process.afterSends(afterSends, () => {
      if (this.#isCalm) return
      this.#options.trace.add('world', `${program.process.name} is paused`)
      program.process.pause(forMs)
    })
  }

  leave({ place, restartMs }: Extract<Fault, { kind: 'leave' }>): void {
    const program = this.#programAt(place)
    if (program === undefined || program.process.isStopped) return
    this.#vacate(place)
    const left = program instanceof SimulatedWorker ? program.close() : program.end()
    this.#leaving.add(left)
    // Two programs of one name never run at once.
    void left.then(() => {
      this.#leaving.delete(left)
      this.#options.time.after(restartMs, () => this.#restart(place, true))
    })
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
    const { kinesis, streamWitness, sideWitness, trace, report, plan: whole } = this.#options
    const isRefused = (fault: Fault): boolean =>
      fault.kind === 'calls' && fault.operation === 'DescribeStreamSummary' && fault.act === 'denied'
    const witness = new ProducerWitness({
      process,
      plan,
      kinesis,
      streamWitness,
      sideWitness,
      mayDescribe: !plan.denied?.includes('DescribeStreamSummary') && !whole.faults.some(isRefused),
      isUnhindered: whole.wayMs <= SHORT_WAY_MS && whole.faults.every(({ kind }) => kind === 'calls') && isPlain(plan),
      isCalm: () => this.#isCalm,
      report,
    })
    place.program = new SimulatedProducer(process, plan, whole.keysPerProducer, { kinesis, witness, trace })
  }

  #startWorker(plan: WorkerPlan, workerId: string): void {
    const place = this.#workers.get(plan.place)!
    const process = this.#newProcess(`${workerId}#${++place.starts}`)
    place.program = new SimulatedWorker(process, workerId, plan, {
      kinesis: this.#options.kinesis,
      dynamodb: this.#options.dynamodb,
      witness: this.#options.streamWitness,
      disturbances: this.#options.disturbances,
      trace: this.#options.trace,
      failoverTime: this.#options.plan.failoverTime,
      initialPosition: this.#options.plan.initialPosition ?? 'TRIM_HORIZON',
      onExpiry: (shardId) => this.#options.leaseWitness.expiryTold(shardId),
      onFailure: (error) => this.#options.onFailure(process.name, error),
    })
  }

  #newProcess(name: string): SimulatedProcess {
    this.#options.trace.add('world', `${name} starts`)
    const random = this.#options.randomness.stream(name)
    return new SimulatedProcess({
      time: this.#options.time,
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
}

/** Whether a producer only puts what any stream takes, and not much. */
function isPlain({ paddingBytes, largeBytes, keylessShare }: ProducerPlan): boolean {
  return paddingBytes === 0 && largeBytes === undefined && keylessShare === undefined
}

function running<Program>(places: ReadonlyMap<string, Place<Program>>): Program[] {
  return [...places.values()].flatMap(({ program }) => (program === undefined ? [] : [program]))
}
