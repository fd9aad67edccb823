import type { ConsumerRecord } from '@shardwise/consumer'
import type { ProducerError, Receipt } from '@shardwise/producer'
import type { SimulatedProcess } from './process.ts'
import type { StoredStream, StoredUserRecord } from './stored-stream.ts'
import { textOf } from './stored-stream.ts'
import { type Invariant, Violation } from './violation.ts'

interface Put {
  readonly text: string
  readonly key: string
  /** Its place among all puts of its key. */
  readonly number: number
  readonly process: SimulatedProcess
  /** `taken`: it wasn't rejected, and nobody looked at its acknowledgement. */
  outcome: 'pending' | 'acknowledged' | 'refused' | 'unknown' | 'taken'
  readonly isAwaited: boolean
  /** Whether its place among those of its key is promised. */
  isOrdered: boolean
  copiesAreTold: boolean
  copies: number
  /** Where its receipt says that it is. */
  place: StoredUserRecord | undefined
  /** When, counted over all deliveries, it was first handed to a handler in its place. */
  firstDelivery: number | undefined
}

/** Where a user record is. */
interface Place {
  readonly shardId: string
  readonly sequenceNumber: string
  readonly subSequenceNumber: number
}

interface Handling {
  readonly process: SimulatedProcess
  readonly signal: AbortSignal
}

/** What a handler has in hand. */
export interface Begun {
  readonly records: readonly StoredUserRecord[]
  readonly finished: () => void
  readonly over: () => void
}

export interface StreamWitnessOptions {
  readonly stored: StoredStream
  readonly nowMs: () => number
  /** How long after its machine has slept a worker may take to find out that its leases are others'. */
  readonly wakingMs: number
  /** The service never distributes records by itself. */
  readonly isAlwaysByKey: boolean
  /** What workers are to keep in order. */
  readonly ordering: 'key' | 'shard' | 'none'
  readonly report: (violation: Violation) => void
}

/** Follows every user record from `put` to the end of its handler, and objects as soon as a promise is broken. */
export class StreamWitness {
  readonly #stored: StoredStream
  readonly #nowMs: () => number
  readonly #wakingMs: number
  readonly #isAlwaysByKey: boolean
  readonly #ordering: StreamWitnessOptions['ordering']
  readonly #report: (violation: Violation) => void
  readonly #puts = new Map<string, Put>()
  readonly #numbers = new Map<string, number>()
  /** Of each key, the acknowledged and delivered puts, by their number. */
  readonly #delivered = new Map<string, Put[]>()
  readonly #handling = new Map<string, Handling>()
  #deliveries = 0
  #repeated = 0

  constructor({ stored, nowMs, wakingMs, isAlwaysByKey, ordering, report }: StreamWitnessOptions) {
    this.#stored = stored
    this.#wakingMs = wakingMs
    this.#isAlwaysByKey = isAlwaysByKey
    this.#ordering = ordering
    this.#nowMs = nowMs
    this.#report = report
  }

  /** Deliveries of records that had been finished before. */
  get repeated(): number {
    return this.#repeated
  }

  get puts(): number {
    return this.#puts.size
  }

  count(outcome: Put['outcome']): number {
    return [...this.#puts.values()].filter((put) => put.outcome === outcome).length
  }

  put(
    text: string,
    key: string,
    process: SimulatedProcess,
    { isOrdered, isAwaited }: { isOrdered: boolean; isAwaited: boolean },
  ): void {
    const number = this.#numbers.get(key) ?? 0
    this.#numbers.set(key, number + 1)
    this.#puts.set(text, {
      text,
      key,
      number,
      process,
      outcome: 'pending',
      isOrdered,
      isAwaited,
      copiesAreTold: true,
      copies: 0,
      place: undefined,
      firstDelivery: undefined,
    })
  }

  stored(record: StoredUserRecord): void {
    const put = this.#putOf(record.text)
    put.copies++
    if (record.key !== put.key) {
      this.#object('nothing is invented', `${put.text} of "${put.key}" is stored with the key "${record.key}"`)
    }
    // From wherever the stream put it, a handler may get this copy before what came before it.
    if (!record.isByKey && put.firstDelivery === undefined) put.isOrdered = false
    if (put.outcome === 'refused')
      this.#object('refused is not stored', `${put.text} was refused and is stored after all`)
    if (put.copies > 1 && !put.copiesAreTold) {
      this.#object(
        'copies are told',
        `${put.text} is stored again after its acknowledgement, which didn't say that it may be`,
      )
    }
  }

  /** What is not acknowledged yet has no order from now on: of one process, or of all. */
  disorder(process?: SimulatedProcess): void {
    for (const put of this.#puts.values()) {
      if (put.outcome === 'pending' && (process === undefined || put.process === process)) put.isOrdered = false
    }
  }

  /** @param mayStray whether it may lie, in an aggregate, where not all of that belongs */
  acknowledged(
    text: string,
    { shardId, sequenceNumber, subSequenceNumber, earlierCopy }: Receipt,
    { mayStray }: { mayStray: boolean },
  ): void {
    const put = this.#putOf(text)
    put.outcome = 'acknowledged'
    put.copiesAreTold = earlierCopy !== undefined
    const record = this.#stored.find(shardId, sequenceNumber, subSequenceNumber)
    const place = `${shardId} ${sequenceNumber}:${subSequenceNumber}`
    if (record?.text !== text) {
      this.#object(
        'acknowledged is stored',
        `${text} was acknowledged at ${place}, where ${record?.text ?? 'nothing'} is`,
      )
    } else if (!record.isWhole && !record.isPlain && !mayStray) {
      this.#object(
        'acknowledged fits its shard',
        `${text} was acknowledged in an aggregate of which a part doesn't belong to ${shardId}`,
      )
    }
    put.place = record
    if (put.copies > 1 && !put.copiesAreTold) {
      this.#object('copies are told', `${text} is stored ${put.copies} times and its acknowledgement doesn't say so`)
    }
    this.#checkOrder(put)
  }

  rejected(text: string, error: ProducerError): void {
    const put = this.#putOf(text)
    put.outcome = error.outcome
    if (error.outcome === 'refused' && put.copies > 0) {
      this.#object('refused is not stored', `${text} was rejected as refused (${error.code}) and is stored`)
    }
  }

  /** It was neither rejected nor looked at before its producer closed. */
  taken(text: string): void {
    const put = this.#putOf(text)
    put.outcome = 'taken'
    if (put.copies === 0) this.#object('acknowledged is stored', `${text} was not rejected and is nowhere`)
  }

  /**
   * A handler is called with a record, or with a batch of one shard. Returns a function to call when it has finished them, and one for when
   * it gives up; undefined if they are none of this stream's.
   */
  begun(records: readonly ConsumerRecord<unknown>[], handling: Handling): Begun | undefined {
    const { process } = handling
    const begun: StoredUserRecord[] = []
    for (const record of records) {
      const stored = this.#recognise(record, process)
      if (stored === undefined) return undefined
      this.#checkParents(stored, process)
      this.#checkPlace(record, stored)
      this.#checkLine(stored, begun, process)
      if (stored.finished) this.#repeated++
      begun.push(stored)
    }
    // A misplaced copy may come at any time, and so may what the service put anywhere.
    const alone = begun.filter(({ isPlaced, isByKey }) => isPlaced && isByKey && this.#ordering !== 'none')
    for (const { key, text } of alone) this.#checkAlone(key, text, handling)
    for (const { key } of alone) this.#handling.set(key, handling)
    for (const stored of begun) this.#noteDelivery(stored)
    const over = (): void => {
      for (const { key } of alone) if (this.#handling.get(key) === handling) this.#handling.delete(key)
    }
    const finished = (): void => {
      for (const stored of begun) stored.finished = true
      over()
    }
    return { records: begun, finished, over }
  }

  /** Somebody who isn't watched has handled it, in its turn. */
  handledElsewhere(stored: StoredUserRecord): void {
    stored.finished = true
    const put = this.#putOf(stored.text)
    if (put.firstDelivery !== undefined || !stored.isPlaced) return
    put.firstDelivery = this.#deliveries++
    this.#checkOrder(put)
  }

  /** The stream's record at a place of it. */
  storedAt({ shardId, sequenceNumber, subSequenceNumber }: Place): StoredUserRecord | undefined {
    return this.#stored.find(shardId, sequenceNumber, subSequenceNumber)
  }

  /** The application has given it up, as its policy has it. */
  givenUp(stored: StoredUserRecord): void {
    stored.finished = true
    if (!stored.isDamaged) this.#noteDelivery(stored)
  }

  /** Takes all that is stored as delivered, as by somebody who reads shard by shard, parents first. */
  readAll(): void {
    for (const { records } of this.#stored.shards) {
      for (const { text, isPlaced } of records) {
        const put = this.#putOf(text)
        if (!isPlaced || put.firstDelivery !== undefined) continue
        put.firstDelivery = this.#deliveries++
        this.#checkOrder(put)
      }
    }
  }

  /** Puts of processes that live and that have no outcome yet. */
  unsettled(): string[] {
    return [...this.#puts.values()]
      .filter(({ outcome, process, isAwaited }) => outcome === 'pending' && isAwaited && !process.isDead)
      .map(({ text }) => text)
  }

  #recognise(record: ConsumerRecord<unknown>, process: SimulatedProcess): StoredUserRecord | undefined {
    const { shardId, sequenceNumber, subSequenceNumber, partitionKey } = record
    const stored = this.storedAt(record)
    const text = textOf(record.data)
    if (this.#puts.has(text) && stored?.text === text && stored.key === partitionKey) return stored
    this.#object(
      'nothing is invented',
      `${process.name} got ${text} at ${shardId} ${sequenceNumber}:${subSequenceNumber}`,
    )
    return undefined
  }

  #checkParents({ text, shard }: StoredUserRecord, process: SimulatedProcess): void {
    for (const parent of shard.parents) {
      const open = this.#stored.firstOpen(parent, this.#nowMs())
      if (open === undefined) continue
      this.#object(
        'parents first',
        `${process.name} got ${text} of ${shard.shardId} while ${open.text} of its parent ${parent.shardId} isn't finished`,
      )
    }
  }

  /** Within one shard order holds whatever else goes wrong: each comes when those before it are finished, or in one batch with them. */
  #checkLine(stored: StoredUserRecord, batch: readonly StoredUserRecord[], process: SimulatedProcess): void {
    const { key, text, shard } = stored
    if (this.#ordering === 'none' || (this.#ordering === 'key' && key === '')) return
    for (const open of this.#stored.openBefore(stored, this.#ordering, this.#nowMs())) {
      if (batch.includes(open)) continue
      this.#object(
        'in line in the shard',
        `${process.name} got ${text} of ${shard.shardId} while ${open.text} before it isn't finished`,
      )
      return
    }
  }

  #noteDelivery({ text, isPlaced }: StoredUserRecord): void {
    const put = this.#putOf(text)
    if (put.firstDelivery !== undefined || !isPlaced) return
    // Where nobody came to it in time, or was to, a later copy comes when it comes.
    const { place } = put
    const isMissed =
      place !== undefined &&
      (place.isPassedOver || this.#stored.hasExpired(place, this.#nowMs()) || this.#stored.isBeforeStart(place))
    if (isMissed) put.isOrdered = false
    put.firstDelivery = this.#deliveries++
    this.#checkOrder(put)
  }

  /** Of a record alone it can't be known, and where the service distributes it means nothing. */
  #checkPlace({ misplaced }: ConsumerRecord<unknown>, { text, shard, isPlaced, isPlain }: StoredUserRecord): void {
    if (misplaced ? isPlaced : !isPlaced && !isPlain && this.#isAlwaysByKey) {
      this.#object(
        'misplaced is told',
        `${text} lies in ${shard.shardId}, ${isPlaced ? 'where it belongs' : 'where it doesn’t belong'}, and comes as ${misplaced ? 'misplaced' : 'well placed'}`,
      )
    }
  }

  #checkAlone(key: string, text: string, { process }: Handling): void {
    const other = this.#handling.get(key)
    if (other === undefined || other.process.isStopped || other.signal.aborted) return
    // After its machine has slept it finds out only by its next tick.
    if (this.#nowMs() - other.process.lastWokenMs < this.#wakingMs) return
    this.#object(
      'one handler a key',
      `${process.name} got ${text} of ${key} while a handler of ${other.process.name} works on the key`,
    )
  }

  #checkOrder(put: Put): void {
    if (!put.isOrdered || put.outcome !== 'acknowledged' || put.firstDelivery === undefined) return
    if (this.#ordering === 'none') return
    let delivered = this.#delivered.get(put.key)
    if (delivered === undefined) {
      delivered = []
      this.#delivered.set(put.key, delivered)
    }
    let at = delivered.length
    while (at > 0 && delivered[at - 1]!.number > put.number) at--
    delivered.splice(at, 0, put)
    const before = delivered[at - 1]
    const after = delivered[at + 1]
    if ((before?.firstDelivery ?? -1) > put.firstDelivery) this.#report(outOfOrder(before!, put))
    if ((after?.firstDelivery ?? Number.POSITIVE_INFINITY) < put.firstDelivery) this.#report(outOfOrder(put, after!))
  }

  #putOf(text: string): Put {
    const put = this.#puts.get(text)
    if (put === undefined) throw new Error(`${text} was never put`)
    return put
  }

  #object(invariant: Invariant, message: string): void {
    this.#report(new Violation(invariant, message))
  }
}

function outOfOrder(first: Put, second: Put): Violation {
  return new Violation(
    'order per key',
    `${second.text} came before ${first.text}, both of ${first.key} and acknowledged`,
  )
}
