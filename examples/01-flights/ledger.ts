import type { Receipt } from '@shardwise/producer'
import type { Delivery } from './report-channel.ts'
import { addTo, type Total } from './source.ts'

/** Why the producer says that another copy of a record is, or may be, in the stream. */
export type EarlierCopy = Receipt['earlierCopy']
const EARLIER_COPIES: readonly EarlierCopy[] = [undefined, 'misplaced', 'unknown']

/** Where a user record is: its Kinesis record, by the ledger's number for it, and the place in there. */
export interface Place {
  readonly kinesisRecord: number
  readonly subSequenceNumber: number
}

/** When (nanoseconds), by which worker (its index) and from where a record was delivered. */
export interface Copy extends Place {
  readonly at: number
  readonly worker: number
}

/** User records acknowledged as being in one shard, and those of them that no worker has delivered yet. */
export interface ShardCount {
  acknowledged: number
  behind: number
}

interface KinesisRecord {
  readonly name: string
  readonly shard: ShardCount
}

const NEVER = Number.POSITIVE_INFINITY
const NOWHERE = 0xffff_ffff

/**
 * What was put, what the producer acknowledged and what the workers delivered, by the record's number in the run.
 * Typed arrays of 35 bytes a record: three million take 105 MB.
 */
export class Ledger {
  /** How many records the run has. */
  readonly size: number
  put = 0
  putBytes = 0
  acknowledged = 0
  /** Records delivered at least once. */
  delivered = 0
  deliveredBytes = 0
  /** Records delivered from where their receipts say they are; a misplaced copy comes from elsewhere, and may come first. */
  confirmed = 0
  /** Deliveries of something else than what was put under the number. */
  altered = 0
  firstAltered: string | undefined
  /** Every delivery of a record but its first, by the clock. */
  readonly repeats: (Copy & { readonly number: number })[] = []
  /** Count and sum by key over the first deliveries, as the workers reported them. */
  readonly totals = new Map<string, Total>()
  readonly shards = new Map<string, ShardCount>()
  /** How often each worker's handler was called. */
  readonly handled: number[] = []

  readonly #keyNumbers = new Map<string, number>()
  readonly #keys: string[] = []
  readonly #kinesisRecordNumbers = new Map<string, Map<string, number>>()
  /** By their numbers. */
  readonly #kinesisRecords: KinesisRecord[] = []
  readonly #acknowledgedKinesisRecords = new Set<number>()

  readonly #key: Uint32Array
  readonly #crc: Uint32Array
  readonly #receiptKinesisRecord: Uint32Array
  readonly #receiptSub: Uint32Array
  readonly #earlierCopy: Uint8Array
  readonly #isConfirmed: Uint8Array
  readonly #firstAt: Float64Array
  readonly #firstWorker: Uint8Array
  readonly #firstKinesisRecord: Uint32Array
  readonly #firstSub: Uint32Array

  constructor(size: number) {
    this.size = size
    this.#key = new Uint32Array(size)
    this.#crc = new Uint32Array(size)
    this.#receiptKinesisRecord = new Uint32Array(size).fill(NOWHERE)
    this.#receiptSub = new Uint32Array(size)
    this.#earlierCopy = new Uint8Array(size)
    this.#isConfirmed = new Uint8Array(size)
    this.#firstAt = new Float64Array(size).fill(NEVER)
    this.#firstWorker = new Uint8Array(size)
    this.#firstKinesisRecord = new Uint32Array(size)
    this.#firstSub = new Uint32Array(size)
  }

  /** Notes the next record before it is put; its number is how many there were before. */
  notePut(key: string, bytes: number, crc: number): void {
    const number = this.put++
    this.putBytes += bytes
    this.#key[number] = getOrAdd(this.#keyNumbers, key, () => this.#keys.push(key) - 1)
    this.#crc[number] = crc
  }

  noteReceipt(
    number: number,
    receipt: Pick<Receipt, 'shardId' | 'sequenceNumber' | 'subSequenceNumber' | 'earlierCopy'>,
  ): void {
    this.acknowledged++
    const kinesisRecord = this.#kinesisRecordNumber(receipt.shardId, receipt.sequenceNumber)
    this.#acknowledgedKinesisRecords.add(kinesisRecord)
    this.#receiptKinesisRecord[number] = kinesisRecord
    this.#receiptSub[number] = receipt.subSequenceNumber
    this.#earlierCopy[number] = EARLIER_COPIES.indexOf(receipt.earlierCopy)
    const shard = this.#kinesisRecords[kinesisRecord]!.shard
    shard.acknowledged++
    if (this.#firstAt[number] === NEVER) shard.behind++
    else this.#confirmEarlier(number, receipt.earlierCopy)
  }

  noteDelivery(delivery: Delivery, worker: number): void {
    const { number, at, subSequenceNumber } = delivery
    this.handled[worker] = (this.handled[worker] ?? 0) + 1
    if (
      number >= this.put ||
      this.#keyNumbers.get(delivery.key) !== this.#key[number] ||
      delivery.crc !== this.#crc[number]
    ) {
      this.altered++
      this.firstAltered ??= `number ${number}, key ${delivery.key}, ${delivery.shardId} ${delivery.sequenceNumber}`
      return
    }
    const kinesisRecord = this.#kinesisRecordNumber(delivery.shardId, delivery.sequenceNumber)
    const copy = { number, at, worker, kinesisRecord, subSequenceNumber }
    this.#confirmAt(number, copy)
    if (this.#firstAt[number] === NEVER) {
      this.delivered++
      this.deliveredBytes += delivery.bytes
      const receipt = this.receiptOf(number)
      if (receipt !== undefined) this.#kinesisRecords[receipt.kinesisRecord]!.shard.behind--
      addTo(this.totals, delivery.key, delivery.value)
      this.#setFirst(number, copy)
    } else if (at < this.#firstAt[number]!) {
      // The two workers' sockets are read in turns: what arrives first need not have been delivered first.
      this.repeats.push({ number, ...this.firstDelivery(number)! })
      this.#setFirst(number, copy)
    } else {
      this.repeats.push(copy)
    }
  }

  keyOf(number: number): string {
    return this.#keys[this.#key[number]!]!
  }

  earlierCopyOf(number: number): EarlierCopy {
    return EARLIER_COPIES[this.#earlierCopy[number]!]
  }

  /** Whether it was delivered from where its receipt says it is. */
  isConfirmed(number: number): boolean {
    return this.#isConfirmed[number] === 1
  }

  /** Where the receipt says the record is. */
  receiptOf(number: number): Place | undefined {
    const kinesisRecord = this.#receiptKinesisRecord[number]!
    return kinesisRecord === NOWHERE ? undefined : { kinesisRecord, subSequenceNumber: this.#receiptSub[number]! }
  }

  firstDelivery(number: number): Copy | undefined {
    const at = this.#firstAt[number]!
    if (at === NEVER) return undefined
    return {
      at,
      worker: this.#firstWorker[number]!,
      kinesisRecord: this.#firstKinesisRecord[number]!,
      subSequenceNumber: this.#firstSub[number]!,
    }
  }

  /** A place in words: shard, sequence number, sub-sequence number. */
  nameOf({ kinesisRecord, subSequenceNumber }: Place): string {
    return `${this.#kinesisRecords[kinesisRecord]!.name}:${subSequenceNumber}`
  }

  get userRecordsPerKinesisRecord(): number {
    return this.acknowledged / Math.max(1, this.#acknowledgedKinesisRecords.size)
  }

  /** Looks at what was delivered before the receipt came. */
  #confirmEarlier(number: number, earlierCopy: EarlierCopy): void {
    this.#confirmAt(number, this.firstDelivery(number)!)
    if (earlierCopy === undefined) return
    for (const copy of this.repeats) if (copy.number === number) this.#confirmAt(number, copy)
  }

  #confirmAt(number: number, { kinesisRecord, subSequenceNumber }: Place): void {
    const isThere =
      this.#receiptKinesisRecord[number] === kinesisRecord && this.#receiptSub[number] === subSequenceNumber
    if (!isThere || this.isConfirmed(number)) return
    this.#isConfirmed[number] = 1
    this.confirmed++
  }

  #setFirst(number: number, { at, worker, kinesisRecord, subSequenceNumber }: Copy): void {
    this.#firstAt[number] = at
    this.#firstWorker[number] = worker
    this.#firstKinesisRecord[number] = kinesisRecord
    this.#firstSub[number] = subSequenceNumber
  }

  #kinesisRecordNumber(shardId: string, sequenceNumber: string): number {
    const numbers = getOrAdd(this.#kinesisRecordNumbers, shardId, () => new Map<string, number>())
    return getOrAdd(numbers, sequenceNumber, () => {
      const shard = getOrAdd(this.shards, shardId, () => ({ acknowledged: 0, behind: 0 }))
      return this.#kinesisRecords.push({ name: `${shardId} ${sequenceNumber}`, shard }) - 1
    })
  }
}

function getOrAdd<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const found = map.get(key)
  if (found !== undefined) return found
  const made = make()
  map.set(key, made)
  return made
}
