import type { Outstanding, ProducerError, ProducerEvent, Receipt } from '@shardwise/producer'
import { type KinesisService, SIDE_STREAM } from './kinesis-service.ts'
import type { ProducerPlan } from './plan.ts'
import type { SimulatedProcess } from './process.ts'
import type { EntryAnswer, RequestWatch, SentRequest } from './request-watch.ts'
import { textOf } from './stored-stream.ts'
import type { StreamWitness } from './stream-witness.ts'
import { type Invariant, Violation } from './violation.ts'

/** The service's limits of a request. */
const MAX_RECORDS = 500
const MAX_REQUEST_BYTES = 10 * 2 ** 20
/** What any stream takes. */
const SMALL_RECORD_BYTES = 2 ** 20
const THROTTLED = new Set(['ProvisionedThroughputExceededException', 'LimitExceededException'])
/** With less than this a record may expire, after the faults, behind what has piled up in them. */
const AMPLE_TTL_MS = 30_000

export interface ProducerWitnessOptions {
  readonly process: SimulatedProcess
  readonly plan: ProducerPlan
  readonly kinesis: KinesisService
  readonly streamWitness: StreamWitness
  readonly sideWitness: StreamWitness
  /** Whether nothing hinders it but that what it asks about the stream comes to nothing. */
  readonly isUnhindered: boolean
  /** Whether it can always find out how large records may be. */
  readonly mayDescribe: boolean
  /** Whether the last fault has passed. */
  readonly isCalm: () => boolean
  /** It puts more records of a key than can go one after the other. */
  readonly isSwamped: boolean
  readonly report: (violation: Violation) => void
}

/** After so long a producer that may ask, and puts, knows who distributes: it asks again every six minutes at most. */
const NOTICED_MS = 400_000

/** How long a put may take, beside its buffering, where nothing hinders it: patience with questions, and then some. */
const PROMPT_MS = 4_000

/** Calls that are denied may be tried again: so many, and one more in so many seconds. */
const DENIED_CALLS = 20
const DENIED_CALL_SECONDS = 10

/** What a program puts. */
export interface PutRecord {
  readonly text: string
  /** Undefined: the producer's own. */
  readonly stream: string | undefined
  readonly partitionKey: string | undefined
  readonly explicitHashKey: string | undefined
  /** Of data and key. */
  readonly bytes: number
  /** Whether the program looks at what becomes of it. */
  readonly isAwaited: boolean
}

interface Put extends PutRecord {
  readonly isAfterFaults: boolean
  /** When it was put, by its program's clock. */
  readonly putMs: number
  /** How often it was sent. */
  sent: number
  isThrottled: boolean
  outcome: 'pending' | 'acknowledged' | 'rejected'
  /** It was rejected since its producer's close was cut short. */
  isUndelivered: boolean
  /** How often `onError` was told of it. */
  told: number
}

/** Looks at one producer: at what it sends, and at what it says about that. */
export class ProducerWitness implements RequestWatch {
  readonly #options: ProducerWitnessOptions
  readonly #puts = new Map<string, Put>()
  /** Requests, by stream. */
  readonly #inFlight = new Map<string, number>()
  /** Who distributes, as the producer believes. */
  #distribution: 'key' | 'service' = 'key'
  #isCutShort = false
  #denied = 0

  constructor(options: ProducerWitnessOptions) {
    this.#options = options
  }

  /** How many puts there were. */
  get count(): number {
    return this.#puts.size
  }

  put(record: PutRecord): void {
    const { process, isCalm } = this.#options
    this.#puts.set(record.text, {
      ...record,
      isAfterFaults: isCalm(),
      putMs: process.monotonicMs(),
      sent: 0,
      isThrottled: false,
      outcome: 'pending',
      isUndelivered: false,
      told: 0,
    })
    const { text, partitionKey = '', isAwaited } = record
    this.#witnessOf(record).put(text, partitionKey, process, { isOrdered: this.#isOrdered(record), isAwaited })
  }

  sent({ stream, contents, bytes }: SentRequest): (answer: readonly EntryAnswer[] | Error) => void {
    const { plan } = this.#options
    const inFlight = (this.#inFlight.get(stream) ?? 0) + 1
    this.#inFlight.set(stream, inFlight)
    if (inFlight > plan.maxRequestsInFlight) {
      this.#object('within limits', `${inFlight} requests are in flight, of ${plan.maxRequestsInFlight}`)
    }
    if (contents.length > MAX_RECORDS || bytes > MAX_REQUEST_BYTES) {
      this.#object('within limits', `a request has ${contents.length} records and ${bytes} bytes`)
    }
    const entries = contents.map(({ records }) => records.map(({ data }) => this.#putOf(textOf(data))))
    for (const [index, { isPlain }] of contents.entries()) this.#checkEntry(entries[index]!, isPlain)
    return (answer) => {
      this.#inFlight.set(stream, this.#inFlight.get(stream)! - 1)
      for (const [index, puts] of entries.entries()) this.#answered(puts, answer, index)
    }
  }

  denied(): void {
    this.#denied++
    const seconds = this.#options.process.monotonicMs() / 1_000
    if (this.#denied <= DENIED_CALLS + seconds / DENIED_CALL_SECONDS) return
    this.#object('asks in moderation', `${this.#denied} calls were denied in ${seconds.toFixed(0)} s`)
  }

  /** A client may read what it is to send late, and go on reading when the producer has given the request up. */
  changed(): void {
    this.#object('bytes stay', 'the bytes of a request are changed before it is carried out')
  }

  happened(event: ProducerEvent): void {
    const { streamWitness, process } = this.#options
    // What the stream is described as only shows what it will be taken to be.
    if (event.type !== 'distributionChanged') return
    this.#distribution = event.distribution
    if (event.distribution === 'service') streamWitness.disorder(process)
  }

  acknowledged(text: string, receipt: Receipt): void {
    const { plan, kinesis, process, isUnhindered } = this.#options
    const put = this.#putOf(text)
    put.outcome = 'acknowledged'
    const tookMs = process.monotonicMs() - put.putMs
    if (isUnhindered && tookMs > PROMPT_MS + plan.recordMaxBufferedTime) {
      this.#object('questions hold nothing up', `${text} was acknowledged after ${tookMs.toFixed(0)} ms`)
    }
    const { attempts } = receipt
    if (attempts.length !== put.sent) {
      this.#object('attempts are told', `${text} was sent ${put.sent} times, its receipt says ${attempts.length}`)
    }
    if (attempts.at(-1)?.code !== undefined) {
      this.#object('attempts are told', `${text} was acknowledged by an attempt that failed: ${attempts.at(-1)?.code}`)
    }
    // Who asks for aggregates there knows that they lie where the service likes.
    const mayStray = plan.aggregation === 'always' && kinesis.changes.hasDistributed && !isSide(put)
    this.#witnessOf(put).acknowledged(text, receipt, { mayStray })
  }

  rejected(text: string, error: ProducerError): void {
    const put = this.#putOf(text)
    put.outcome = 'rejected'
    put.isUndelivered = this.#isCutShort
    this.#witnessOf(put).rejected(text, error)
    this.#checkReason(put, error)
    const { record, attempts } = error
    const isItself =
      record?.stream === put.stream &&
      record?.partitionKey === put.partitionKey &&
      record?.explicitHashKey === put.explicitHashKey &&
      textOfRecord(record?.data) === text
    if (!isItself) this.#object('handed back', `${text} was rejected (${error.code}) and another record handed back`)
    if (attempts.length !== put.sent) {
      this.#object('attempts are told', `${text} was sent ${put.sent} times, its error says ${attempts.length}`)
    }
  }

  /** The producer's `onError` is called. */
  toldOf(error: ProducerError): void {
    const text = textOfRecord(error.record?.data)
    const put = this.#puts.get(text)
    if (put === undefined || ++put.told > 1) {
      this.#object('every rejection is told', `onError was told ${put?.told ?? 1} times of ${text} (${error.code})`)
    } else if (!put.isAwaited) this.rejected(text, error)
  }

  /** A flush that was called when there were so many puts is over. */
  flushed(count: number): void {
    const open = [...this.#puts.values()]
      .slice(0, count)
      .find(({ outcome, isAwaited }) => outcome === 'pending' && isAwaited)
    if (open !== undefined) this.#object('flush waits', `${open.text} isn't settled after the flush that came later`)
  }

  /** The draining of its close is over now. */
  cutShort(): void {
    this.#isCutShort = true
  }

  /** Closed, all acknowledged or rejected before; or cut short, with an error that hands back the rest. */
  closed(undelivered: readonly ProducerError[]): void {
    const puts = [...this.#puts.values()]
    const pending = puts.find(({ outcome, isAwaited }) => outcome === 'pending' && isAwaited)
    if (pending !== undefined) this.#object('puts settle', `${pending.text} isn't settled after close`)
    if (this.#options.plan.hasOnError) {
      const untold = puts.find(({ outcome, told }) => told !== (outcome === 'rejected' ? 1 : 0))
      if (untold !== undefined) {
        this.#object(
          'every rejection is told',
          `${untold.text} is ${untold.outcome}, onError was told ${untold.told} times`,
        )
      }
    }
    const handedBack = undelivered.map(({ record }) => textOfRecord(record?.data))
    const given = new Set(handedBack)
    for (const { text, outcome, isUndelivered } of puts) {
      if (isUndelivered !== given.has(text)) {
        this.#object(
          'handed back',
          `${text} is ${outcome}${isUndelivered ? ' since the close was cut short' : ''} and ${given.has(text) ? '' : 'not '}among the undelivered`,
        )
      }
    }
    if (given.size !== handedBack.length) this.#object('handed back', 'a record is handed back twice')
    this.#checkNotice()
    // What nobody looked at and nobody was told of has been acknowledged.
    for (const put of puts) {
      if (!put.isAwaited && put.outcome === 'pending') this.#witnessOf(put).taken(put.text)
    }
  }

  /** What is outstanding after its close. */
  closedWith({ records, bytes, oldestMs }: Outstanding): void {
    if (records === 0 && bytes === 0 && oldestMs === 0) return
    this.#object(
      'nothing stays outstanding',
      `closed with ${records} records of ${bytes} bytes, the oldest ${oldestMs} ms`,
    )
  }

  /** Whether this key's order may be demanded of what is put now. */
  #isOrdered(record: PutRecord): boolean {
    const { plan, kinesis } = this.#options
    if (plan.ordering === 'none' || record.partitionKey === undefined) return false
    return (
      isSide(record) ||
      !kinesis.changes.hasDistributed ||
      (kinesis.changes.distributesByKey && this.#distribution === 'key')
    )
  }

  #checkNotice(): void {
    const { kinesis, process, mayDescribe } = this.#options
    if (!mayDescribe || Math.min(kinesis.changes.distributedForMs, process.monotonicMs()) < NOTICED_MS) return
    const distribution = kinesis.changes.distributesByKey ? 'key' : 'service'
    if (this.#distribution === distribution) return
    this.#object(
      'changes are noticed',
      `takes the stream to distribute by ${this.#distribution}, which it long doesn't`,
    )
  }

  #checkEntry(puts: readonly Put[], isPlain: boolean): void {
    const { plan } = this.#options
    for (const put of puts) {
      put.sent++
      if (plan.failIfThrottled && put.isThrottled) {
        this.#object('fails if throttled', `${put.text} is sent again after it was throttled`)
      }
      if (put.partitionKey === undefined && !isPlain) {
        this.#object('plain where the service distributes', `${put.text}, which has no key, is sent in an aggregate`)
      }
    }
    const isDistributed = this.#distribution === 'service' && puts.every((put) => !isSide(put))
    if (puts.length > 1 && isDistributed && plan.aggregation !== 'always') {
      this.#object('plain where the service distributes', `${puts[0]?.text} is sent with ${puts.length - 1} others`)
    }
  }

  #answered(puts: readonly Put[], answer: readonly EntryAnswer[] | Error, index: number): void {
    const code = answer instanceof Error ? answer.name : answer[index]?.ErrorCode
    for (const put of puts) {
      put.isThrottled ||= code !== undefined && THROTTLED.has(code)
    }
  }

  #checkReason(put: Put, error: ProducerError): void {
    const why = this.#whyNot(put, error)
    if (why !== undefined) {
      this.#object('rejected for a reason', `${put.text} was rejected: ${error.code} ${error.message}, ${why}`)
    }
  }

  /** Why a put should not have been rejected so. */
  #whyNot(put: Put, { code }: ProducerError): string | undefined {
    const { plan, process } = this.#options
    const { bytes, partitionKey, isThrottled, isAfterFaults, putMs } = put
    const ageMs = process.monotonicMs() - putMs
    switch (code) {
      case 'ERR_THROTTLED':
        return plan.failIfThrottled && isThrottled ? undefined : 'which was not asked for, or was not so'
      case 'ERR_RECORD_TOO_LARGE':
      case 'ERR_REFUSED':
        if (partitionKey === undefined && code === 'ERR_REFUSED') return undefined
        return bytes > Math.max(SMALL_RECORD_BYTES, isSide(put) ? 0 : this.#knownRecordBytes)
          ? undefined
          : 'but any stream takes it'
      case 'ERR_PARTITION_KEY':
        return partitionKey === undefined ? undefined : 'but it has a key'
      case 'ERR_CLOSED':
        return this.#isCutShort ? undefined : 'but nothing was cut short'
      case 'ERR_EXPIRED':
        if (ageMs < plan.recordTtl) return `but only ${ageMs.toFixed(0)} ms after it was put`
        return isAfterFaults &&
          !this.#options.isSwamped &&
          plan.recordTtl >= AMPLE_TTL_MS &&
          plan.paddingBytes === 0 &&
          plan.largeBytes === undefined
          ? 'though all was well'
          : undefined
      case 'ERR_BUFFER_FULL':
        return undefined
      default:
        return 'for which there was none'
    }
  }

  /** What a record may have, as far as the producer can know. */
  get #knownRecordBytes(): number {
    const { mayDescribe, kinesis } = this.#options
    return mayDescribe ? kinesis.changes.leastRecordBytes : 0
  }

  #witnessOf(record: PutRecord): StreamWitness {
    return isSide(record) ? this.#options.sideWitness : this.#options.streamWitness
  }

  #putOf(text: string): Put {
    const put = this.#puts.get(text)
    if (put === undefined) throw new Error(`${text} was never put by ${this.#options.process.name}`)
    return put
  }

  #object(invariant: Invariant, message: string): void {
    this.#options.report(new Violation(invariant, `${this.#options.process.name}: ${message}`))
  }
}

function isSide({ stream }: PutRecord): boolean {
  return stream === SIDE_STREAM
}

function textOfRecord(data: Uint8Array | string | undefined): string {
  return textOf(typeof data === 'string' ? Buffer.from(data) : (data ?? new Uint8Array()))
}
