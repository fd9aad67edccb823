import type { Position } from '@shardwise/records'

/** A user record that has been begun but that the watermark hasn't passed. */
export interface WatermarkEntry {
  readonly sequenceNumber: string
  readonly subSequenceNumber: number
  finished: boolean
}

/**
 * How far a shard is finished: the greatest position with everything before it finished. Records are admitted in the
 * shard's order and may finish in any.
 */
export class Watermark<Entry extends WatermarkEntry = WatermarkEntry> {
  #sequenceNumber: string
  #subSequenceNumber: number
  #moved = false
  /** Admitted and not passed, in order, from `#head` on. Before it there is nothing, which waits to be cut off. */
  #entries: (Entry | WatermarkEntry | undefined)[] = []
  #head = 0

  constructor(start: Position) {
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

  /** How many admitted records lie above the position; after a crash they would all come again. */
  get ahead(): number {
    return this.#entries.length - this.#head
  }

  /** The record that holds the position back. */
  get oldest(): Entry | WatermarkEntry | undefined {
    return this.#entries[this.#head]
  }

  admit(entry: Entry): void {
    this.#entries.push(entry)
  }

  finish(entry: Entry): void {
    entry.finished = true
    for (let head = this.oldest; head?.finished; head = this.oldest) {
      this.#moveTo(head.sequenceNumber, head.subSequenceNumber)
      // It may hold a MB of data.
      this.#entries[this.#head++] = undefined
    }
    if (this.#head === this.#entries.length) {
      this.#entries = []
      this.#head = 0
    } else if (this.#head > 1024 && this.#head > this.#entries.length / 2) {
      this.#entries = this.#entries.slice(this.#head)
      this.#head = 0
    }
  }

  /** The next record in order is finished at once; keeps no entry if nothing lies before it. */
  pass(sequenceNumber: string, subSequenceNumber: number): void {
    if (this.ahead === 0) this.#moveTo(sequenceNumber, subSequenceNumber)
    else this.#entries.push({ sequenceNumber, subSequenceNumber, finished: true })
  }

  #moveTo(sequenceNumber: string, subSequenceNumber: number): void {
    this.#sequenceNumber = sequenceNumber
    this.#subSequenceNumber = subSequenceNumber
    this.#moved = true
  }
}
