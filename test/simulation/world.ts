import { Disturbances } from './disturbances.ts'
import { DynamoDBService } from './dynamodb-service.ts'
import { KinesisService, SIDE_STREAM, STREAM } from './kinesis-service.ts'
import { LeaseWitness } from './lease-witness.ts'
import { Network } from './network.ts'
import { describeFault, type Fault, type Plan } from './plan.ts'
import { Programs } from './programs.ts'
import { Randomness } from './randomness.ts'
import { Recovery } from './recovery.ts'
import { StoredStream, type StoredUserRecord } from './stored-stream.ts'
import { StreamWitness } from './stream-witness.ts'
import { Trace } from './trace.ts'
import { type Invariant, Violation } from './violation.ts'
import { VirtualTime } from './virtual-time.ts'

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

const LOOK_MS = 250

/** One run of a {@link Plan}: the real producers and consumers over modelled services, watched by witnesses. */
export class World {
  readonly #plan: Plan
  readonly #randomness: Randomness
  readonly #time: VirtualTime
  readonly #trace: Trace
  readonly #disturbances = new Disturbances()
  readonly #stored: StoredStream
  readonly #streamWitness: StreamWitness
  readonly #sideWitness: StreamWitness
  readonly #leaseWitness: LeaseWitness
  readonly #kinesis: KinesisService
  readonly #dynamodb: DynamoDBService
  readonly #programs: Programs
  readonly #recovery: Recovery
  #violation: Violation | undefined
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
    const sideStored = new StoredStream(Number.POSITIVE_INFINITY)
    this.#sideWitness = new StreamWitness(sideStored, () => time.nowMs, report)
    this.#leaseWitness = new LeaseWitness(this.#stored, () => time.nowMs, report)
    const notes = new Map([
      [STREAM, { stored: this.#stored, onStored: (record: StoredUserRecord) => this.#streamWitness.stored(record) }],
    ])
    if (plan.producers.some(({ sideShare }) => sideShare !== undefined)) {
      notes.set(SIDE_STREAM, { stored: sideStored, onStored: (record) => this.#sideWitness.stored(record) })
    }
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
    const parts = {
      plan,
      time,
      trace: this.#trace,
      kinesis: this.#kinesis,
      dynamodb: this.#dynamodb,
      streamWitness: this.#streamWitness,
      sideWitness: this.#sideWitness,
    }
    this.#programs = new Programs({
      ...parts,
      randomness: this.#randomness,
      disturbances: this.#disturbances,
      leaseWitness: this.#leaseWitness,
      report,
      onFailure: (name, error) => this.#object('keeps going', `${name} ended: ${describeError(error)}`),
    })
    this.#recovery = new Recovery({ ...parts, programs: this.#programs, stored: this.#stored, report })
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
      puts: this.#streamWitness.puts + this.#sideWitness.puts,
      acknowledged: this.#streamWitness.count('acknowledged') + this.#sideWitness.count('acknowledged'),
      repeated: this.#streamWitness.repeated,
      expired: this.#leaseWitness.expired,
      steadyAfterMs: this.#recovery.steadyAfterMs,
      digest: this.#trace.digest,
      trace: this.#trace.lines,
    }
  }

  #schedule(): void {
    for (const fault of this.#plan.faults) this.#time.at(fault.atMs, () => this.#strike(fault))
    this.#checkMemory()
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
      case 'reshard':
        this.#kinesis.reshard(fault.act, fault.where)
        break
      case 'distribution':
        if (this.#kinesis.distribute(fault.to) && fault.to === 'AUTO') this.#streamWitness.disorder()
        break
      case 'recordSize':
        this.#kinesis.limitRecords(fault.maxRecordKiB)
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

  #checkMemory(): void {
    for (const program of [...this.#programs.producers, ...this.#programs.workers]) {
      if (program.excessBytes > 0) {
        this.#object('memory is bounded', `${program.process.name} holds ${program.excessBytes} bytes more than it may`)
      }
    }
    this.#time.after(LOOK_MS, () => this.#checkMemory())
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

function describeError(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
