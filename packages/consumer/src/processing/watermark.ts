import type { Position } from '@shardwise/records'

/** The user record that holds the watermark back. */
export interface OldestUnfinished extends Position {
  readonly partitionKey: string
  /** When it was begun. */
  readonly atMs: number
}

const UNFINISHED = 0
const FINISHED = 1
/** Nothing to handle is there. */
const NOTHING = 2
/** A power of two. */
const MIN_CAPACITY = 64

/**
 * How far a shard is finished: the greatest position with everything before it finished. Records are admitted in the
 * shard's order and may finish in any. Knows nothing of their data, which would stay in memory for as long.
 */
export class Watermark {
  #sequenceNumber: string
  #subSequenceNumber: number
  #moved: boolean
  // What is above the position, as a ring: entry `number` is at `number & mask`. Many small objects would cost the garbage collector more.
  #capacity = MIN_CAPACITY
  #sequenceNumbers = new Array<string>(MIN_CAPACITY).fill('')
  #partitionKeys = new Array<string>(MIN_CAPACITY).fill('')
  #subSequenceNumbers = new Int32Array(MIN_CAPACITY)
  #bytes = new Int32Array(MIN_CAPACITY)
  #states = new Uint8Array(MIN_CAPACITY)
  #atMs = new Float64Array(MIN_CAPACITY)
  /** The number of the oldest entry, and of the one that comes next. */
  #head = 0
  #tail = 0
  #nothings = 0
  #aheadBytes = 0

  /** @param isNews whether `start` itself may have to be written */
  constructor(start: Position, isNews = false) {
    this.#moved = isNews
    this.#sequenceNumber = start.sequenceNumber
    this.#subSequenceNumber = start.subSequenceNumber
  }

  /** The checkpoint that may be written; undefined while it is still where it started. */
  get moved(): Position | undefined {
    return this.#moved ? this.position : undefined
  }

  get position(): Position {
    return { sequenceNumber: this.#sequenceNumber, subSequenceNumber: this.#subSequenceNumber }
  }

  /** How many user records lie above the position, finished or not; after a crash they would all come again. */
  get ahead(): number {
    return this.#tail - this.#head - this.#nothings
  }

  /** Bytes of data of the user records that lie above the position, finished or not. */
  get aheadBytes(): number {
    return this.#aheadBytes
  }

  get oldest(): OldestUnfinished | undefined {
    if (this.#head === this.#tail) return undefined
    const at = this.#head & (this.#capacity - 1)
    return {
      sequenceNumber: this.#sequenceNumbers[at]!,
      subSequenceNumber: this.#subSequenceNumbers[at]!,
      partitionKey: this.#partitionKeys[at]!,
      atMs: this.#atMs[at]!,
    }
  }

  /** The next record in order is begun. Returns the number to {@link finish} it by. */
  admit(sequenceNumber: string, subSequenceNumber: number, partitionKey: string, bytes: number, atMs: number): number {
    const at = this.#append(sequenceNumber, subSequenceNumber, UNFINISHED, bytes)
    this.#partitionKeys[at] = partitionKey
    this.#atMs[at] = atMs
    return this.#tail++
  }

  finish(number: number): void {
    this.#states[number & (this.#capacity - 1)] = FINISHED
    if (number === this.#head) this.#advance()
  }

  /** The next record in order is finished at once; keeps no entry if nothing lies before it. */
  pass(sequenceNumber: string, subSequenceNumber: number, bytes: number): void {
    if (this.#head === this.#tail) {
      this.#moveTo(sequenceNumber, subSequenceNumber)
      return
    }
    this.#append(sequenceNumber, subSequenceNumber, FINISHED, bytes)
    this.#tail++
  }

  /** Nothing to handle is at the next position. However often that comes, it takes no more room. */
  passNothing(sequenceNumber: string, subSequenceNumber: number): void {
    if (this.#head === this.#tail) {
      this.#moveTo(sequenceNumber, subSequenceNumber)
      return
    }
    if (this.#states[(this.#tail - 1) & (this.#capacity - 1)] === NOTHING) this.#tail--
    else this.#nothings++
    this.#append(sequenceNumber, subSequenceNumber, NOTHING, 0)
    this.#tail++
  }

  /** The positions of user records that are finished, with others before them that aren't. */
  finishedAbove(): Position[] {
    const positions: Position[] = []
    for (let number = this.#head; number < this.#tail; number++) {
      if (this.#states[number & (this.#capacity - 1)] === FINISHED) positions.push(this.positionOf(number))
    }
    return positions
  }

  /** Of an entry that the watermark hasn't passed. */
  positionOf(number: number): Position {
    const at = number & (this.#capacity - 1)
    return { sequenceNumber: this.#sequenceNumbers[at]!, subSequenceNumber: this.#subSequenceNumbers[at]! }
  }

  #append(sequenceNumber: string, subSequenceNumber: number, state: number, bytes: number): number {
    if (this.#tail - this.#head === this.#capacity) this.#resize(this.#capacity * 2)
    const at = this.#tail & (this.#capacity - 1)
    this.#sequenceNumbers[at] = sequenceNumber
    this.#subSequenceNumbers[at] = subSequenceNumber
    this.#states[at] = state
    this.#bytes[at] = bytes
    this.#aheadBytes += bytes
    return at
  }

  #advance(): void {
    const mask = this.#capacity - 1
    let at = 0
    while (this.#head < this.#tail) {
      const next = this.#head & mask
      if (this.#states[next] === UNFINISHED) break
      if (this.#states[next] === NOTHING) this.#nothings--
      at = next
      this.#aheadBytes -= this.#bytes[at]!
      this.#partitionKeys[at] = ''
      this.#head++
    }
    this.#moveTo(this.#sequenceNumbers[at]!, this.#subSequenceNumbers[at]!)
    if (this.#head === this.#tail && this.#capacity > 1024) this.#resize(MIN_CAPACITY)
  }

  #moveTo(sequenceNumber: string, subSequenceNumber: number): void {
    this.#sequenceNumber = sequenceNumber
    this.#subSequenceNumber = subSequenceNumber
    this.#moved = true
  }

  #resize(capacity: number): void {
    const numbers = Array.from({ length: this.#tail - this.#head }, (_, index) => this.#head + index)
    const was = this.#capacity - 1
    const is = capacity - 1
    const moved = <Values extends { [index: number]: string | number }>(from: Values, to: Values): Values => {
      for (const number of numbers) to[number & is] = from[number & was]!
      return to
    }
    this.#sequenceNumbers = moved(this.#sequenceNumbers, new Array<string>(capacity).fill(''))
    this.#partitionKeys = moved(this.#partitionKeys, new Array<string>(capacity).fill(''))
    this.#subSequenceNumbers = moved(this.#subSequenceNumbers, new Int32Array(capacity))
    this.#bytes = moved(this.#bytes, new Int32Array(capacity))
    this.#states = moved(this.#states, new Uint8Array(capacity))
    this.#atMs = moved(this.#atMs, new Float64Array(capacity))
    this.#capacity = capacity
  }
}
