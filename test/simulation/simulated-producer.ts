import { silentLogger } from '@shardwise/core'
import { Producer, type ProducerError } from '@shardwise/producer'
import { type KinesisService, STREAM } from './kinesis-service.ts'
import type { ProducerPlan } from './plan.ts'
import type { SimulatedProcess } from './process.ts'
import { integer } from './randomness.ts'
import type { StreamWitness } from './stream-witness.ts'
import type { Trace } from './trace.ts'

const MAX_OUTSTANDING_BYTES = 2 ** 20
/** What a record counts for, at most, beside its padding. */
const RECORD_BYTES = 1_000
/** Places in the hash range that some keys ask for. */
const EXPLICIT_HASH_KEYS = ['0', String(2n ** 127n), String(2n ** 128n - 1n)]

/** A program that puts records, now and then some, until it is told to end. */
export class SimulatedProducer {
  readonly process: SimulatedProcess
  readonly #plan: ProducerPlan
  readonly #keys: number
  readonly #witness: StreamWitness
  readonly #trace: Trace
  readonly #producer: Producer
  #puts = 0
  #ending = false
  readonly #ended: Promise<void>
  #isOver = false

  constructor(
    process: SimulatedProcess,
    plan: ProducerPlan,
    keys: number,
    { kinesis, witness, trace }: { kinesis: KinesisService; witness: StreamWitness; trace: Trace },
  ) {
    this.process = process
    this.#plan = plan
    this.#keys = keys
    this.#witness = witness
    this.#trace = trace
    this.#producer = new Producer({
      stream: STREAM,
      client: kinesis.clientOf(process),
      aggregation: plan.aggregation,
      aggregationMaxSize: plan.aggregationMaxSize,
      recordMaxBufferedTime: plan.recordMaxBufferedTime,
      recordTtl: plan.recordTtl,
      maxRequestsInFlight: plan.maxRequestsInFlight,
      maxOutstandingBytes: MAX_OUTSTANDING_BYTES,
      clock: process,
      random: process.random,
      logger: silentLogger,
      onEvent: (event) => trace.add(process.name, `event ${event.type}`),
    })
    this.#ended = this.#run()
  }

  /** Whether its producer is closed. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** Bytes beyond what the producer may hold: one record is taken as long as there is any room. */
  get excessBytes(): number {
    return this.#producer.outstanding.bytes - 2 * MAX_OUTSTANDING_BYTES - this.#plan.paddingBytes - RECORD_BYTES
  }

  /** Puts no more and closes the producer. */
  end(): Promise<void> {
    this.#ending = true
    return this.#ended
  }

  async #run(): Promise<void> {
    const { gapMs, burst } = this.#plan
    const { random } = this.process
    while (!this.#ending) {
      await this.process.sleep(random() * 2 * gapMs)
      for (let left = integer(random, 1, burst); left > 0 && !this.#ending; left--) this.#put()
      if (random() < 0.3) await this.#producer.ready
      if (random() < 0.05) await this.#producer.flush()
    }
    await this.#producer.close()
    this.#isOver = true
  }

  #put(): void {
    const { place, paddingBytes } = this.#plan
    const number = integer(this.process.random, 0, this.#keys - 1)
    const partitionKey = `${place}/key-${number}`
    // A key always with the same explicit hash key, or none: that is where order is promised.
    const explicitHashKey = number % 4 === 3 ? EXPLICIT_HASH_KEYS[(number - 3) / 4] : undefined
    const text = `${this.process.name}/${this.#puts++}`
    this.#witness.put(text, partitionKey, this.process)
    const data = `${text} ${'x'.repeat(paddingBytes)}`
    this.#producer.put({ partitionKey, explicitHashKey, data }).then(
      (receipt) => {
        this.#trace.add(this.process.name, `${text} acknowledged at ${receipt.shardId} ${receipt.sequenceNumber}`)
        this.#witness.acknowledged(text, receipt)
      },
      (error: ProducerError) => {
        this.#trace.add(this.process.name, `${text} rejected: ${error.code}, ${error.outcome}`)
        this.#witness.rejected(text, error)
      },
    )
  }
}
