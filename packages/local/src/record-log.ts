/** A Kinesis record as a shard holds it. */
export interface StoredRecord {
  readonly sequenceNumber: string
  /** Absent only where the stream did not distribute by key. */
  readonly partitionKey: string | undefined
  readonly data: Uint8Array
  readonly arrivedMs: number
}

/** Room that is given back only in large pieces, so that trimming costs nothing for each record. */
const COMPACT_AFTER = 4096

/** The records of one shard, oldest first. Appending and trimming cost the same however many there are. */
export class RecordLog {
  #records: (StoredRecord | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#records.length - this.#head
  }

  append(record: StoredRecord): void {
    this.#records.push(record)
  }

  /** Removes the oldest record. */
  trim(): StoredRecord | undefined {
    const record = this.#records[this.#head]
    if (record === undefined) return undefined
    this.#records[this.#head++] = undefined
    if (this.#head >= COMPACT_AFTER && this.#head * 2 >= this.#records.length) {
      this.#records = this.#records.slice(this.#head)
      this.#head = 0
    }
    return record
  }

  at(index: number): StoredRecord | undefined {
    return this.#records[this.#head + index]
  }

  /** The index of the first record with a sequence number greater than this one. */
  indexAfter(sequenceNumber: string): number {
    return this.#firstWhere((record) => record.sequenceNumber > sequenceNumber)
  }

  /** The index of the first record that arrived at this time or later. */
  indexAt(timeMs: number): number {
    return this.#firstWhere((record) => record.arrivedMs >= timeMs)
  }

  #firstWhere(holds: (record: StoredRecord) => boolean): number {
    let low = 0
    let high = this.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (holds(this.at(middle)!)) high = middle
      else low = middle + 1
    }
    return low
  }
}
