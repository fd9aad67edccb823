import { silentLogger } from '@shardwise/core'
import { Producer, ProducerError } from '@shardwise/producer'
import { type KinesisService, SIDE_STREAM, STREAM } from './kinesis-service.ts'
import type { ProducerPlan } from './plan.ts'
import type { SimulatedProcess } from './process.ts'
import type { ProducerWitness } from './producer-witness.ts'
import { chance, integer } from './randomness.ts'
import type { Trace } from './trace.ts'

const MAX_OUTSTANDING_BYTES = 2 ** 20
/** What a record counts for, at most, beside its padding. */
const RECORD_BYTES = 1_000
/** Places in the hash range that some keys ask for. */
const EXPLICIT_HASH_KEYS = ['0', String(2n ** 127n), String(2n ** 128n - 1n)]
const LARGE_SHARE = 0.02
const UNAWAITED_SHARE = 0.1
/** A request that is late comes after so many times this, if its producer gives requests up at no time of its own. */
const CLIENT_TIMEOUT_MS = 30_000
const IMPATIENT = new Error('that took too long')

export interface ProducerSurroundings {
  readonly kinesis: KinesisService
  readonly witness: ProducerWitness
  readonly trace: Trace
}

/** A program that puts records, now and then some, until it is told to end. */
export class SimulatedProducer {
  readonly process: SimulatedProcess
  readonly #plan: ProducerPlan
  readonly #keys: number
  readonly #witness: ProducerWitness
  readonly #trace: Trace
  readonly #producer: Producer
  #puts = 0
  #ending = false
  readonly #ended: Promise<void>
  #isOver = false

  constructor(process: SimulatedProcess, plan: ProducerPlan, keys: number, surroundings: ProducerSurroundings) {
    const { kinesis, witness, trace } = surroundings
    this.process = process
    this.#plan = plan
    this.#keys = keys
    this.#witness = witness
    this.#trace = trace
    const { ordering, failIfThrottled, rateLimit, requestTimeout } = plan
    this.#producer = new Producer({
      stream: STREAM,
      client: kinesis.clientOf(process, {
        timeoutMs: plan.isClientPatient ? Number.POSITIVE_INFINITY : CLIENT_TIMEOUT_MS,
        lateMs: requestTimeout ?? CLIENT_TIMEOUT_MS,
        denied: plan.denied,
        watch: witness,
      }),
      aggregation: plan.aggregation,
      aggregationMaxSize: plan.aggregationMaxSize,
      recordMaxBufferedTime: plan.recordMaxBufferedTime,
      recordTtl: plan.recordTtl,
      maxRequestsInFlight: plan.maxRequestsInFlight,
      ...(ordering && { ordering }),
      ...(failIfThrottled !== undefined && { failIfThrottled }),
      ...(rateLimit !== undefined && { rateLimit }),
      ...(requestTimeout !== undefined && { requestTimeout }),
      ...(plan.hasOnError && { onError: (error: ProducerError) => witness.toldOf(error) }),
      maxOutstandingBytes: MAX_OUTSTANDING_BYTES,
      clock: process,
      random: process.random,
      logger: silentLogger,
      onEvent: (event) => {
        trace.add(process.name, `event ${event.type}${'distribution' in event ? ` ${event.distribution}` : ''}`)
        witness.happened(event)
      },
    })
    this.#ended = this.#run()
  }

  /** Whether its producer is closed. */
  get isOver(): boolean {
    return this.#isOver
  }

  /**
   * Bytes beyond what the producer may hold: one record is taken as long as there is any room, and one waits in line however
   * large it is.
   */
  get excessBytes(): number {
    const { paddingBytes, largeBytes = 0 } = this.#plan
    const largest = RECORD_BYTES + Math.max(paddingBytes, largeBytes)
    const inLine = Math.max(MAX_OUTSTANDING_BYTES, largest)
    return this.#producer.outstanding.bytes - MAX_OUTSTANDING_BYTES - largest - inLine
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
      if (random() < 0.05) await this.#flush()
    }
    await this.#close()
    this.#witness.closedWith(this.#producer.outstanding)
    this.#isOver = true
  }

  async #flush(): Promise<void> {
    const before = this.#witness.count
    try {
      await this.#producer.flush(this.#withPatience())
    } catch (error) {
      if (error !== IMPATIENT) throw error
      return
    }
    this.#witness.flushed(before)
  }

  async #close(): Promise<void> {
    try {
      await this.#producer.close(this.#withPatience(() => this.#witness.cutShort()))
    } catch (error) {
      if (!(error instanceof ProducerError) || error.code !== 'ERR_UNDELIVERED') throw error
      this.#trace.add(this.process.name, `closed with ${error.undelivered.length} undelivered`)
      this.#witness.closed(error.undelivered)
      return
    }
    this.#witness.closed([])
  }

  /** A signal that is aborted when the program's patience is over. */
  #withPatience(onEnd = (): void => {}): { signal?: AbortSignal } {
    const { patienceMs } = this.#plan
    if (patienceMs === undefined) return {}
    const patience = new AbortController()
    void this.process.sleep(patienceMs).then(() => {
      onEnd()
      patience.abort(IMPATIENT)
    })
    return { signal: patience.signal }
  }

  #put(): void {
    const { place, paddingBytes, largeBytes, keylessShare, sideShare, hasOnError } = this.#plan
    const { random } = this.process
    const number = integer(random, 0, this.#keys - 1)
    const isKeyless = keylessShare !== undefined && chance(random, keylessShare)
    const partitionKey = isKeyless ? undefined : `${place}/key-${number}`
    // A key always with the same explicit hash key, or none: that is where order is promised.
    const explicitHashKey = !isKeyless && number % 4 === 3 ? EXPLICIT_HASH_KEYS[(number - 3) / 4] : undefined
    const isLarge = largeBytes !== undefined && chance(random, LARGE_SHARE)
    const stream = sideShare !== undefined && chance(random, sideShare) ? SIDE_STREAM : undefined
    const isAwaited = !hasOnError || !chance(random, UNAWAITED_SHARE)
    const text = `${this.process.name}/${this.#puts++}`
    const data = `${text} ${'x'.repeat(isLarge ? largeBytes : paddingBytes)}`
    const bytes = data.length + (partitionKey?.length ?? 0)
    this.#witness.put({ text, stream, partitionKey, explicitHashKey, bytes, isAwaited })
    const put = this.#producer.put({ stream, partitionKey, explicitHashKey, data })
    if (!isAwaited) return
    put.then(
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
