import { createHash } from 'node:crypto'
import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { compareTexts, compareValues } from './values.ts'

/** Where an item stands in its table or index: partitions by hash, so in no order that means anything, sorted within. */
export interface Place {
  /** MD5 of the partition key, in hex. */
  readonly hash: string
  readonly partition: string
  readonly range: AttributeValue | undefined
  /** Tells apart what has the same key in an index. */
  readonly tie: string
}

export function placeOf(partitionKey: AttributeValue, range: AttributeValue | undefined, tie = ''): Place {
  const partition = keyText(partitionKey)
  return { hash: createHash('md5').update(partition).digest('hex'), partition, range, tie }
}

/** A key's value as a text that no other value has. */
export function keyText({ S, N, B }: AttributeValue): string {
  return S ?? N ?? Buffer.from(B!).toString('base64')
}

/** One of `total` equal parts of all hashes, counted from 0. */
export function segmentOf({ hash }: Place, total: number): number {
  return Math.floor((Number.parseInt(hash.slice(0, 8), 16) * total) / 2 ** 32)
}

export function comparePlaces(a: Place, b: Place): number {
  if (a.hash !== b.hash) return a.hash < b.hash ? -1 : 1
  if (a.partition !== b.partition) return compareTexts(a.partition, b.partition)
  const byRange = a.range && b.range ? (compareValues(a.range, b.range) ?? 0) : 0
  return byRange !== 0 ? byRange : compareTexts(a.tie, b.tie)
}

/** Rows kept in the order of their places. */
export class OrderedRows<Row extends { readonly place: Place }> {
  readonly #rows: Row[] = []

  get all(): readonly Row[] {
    return this.#rows
  }

  insert(row: Row): void {
    this.#rows.splice(
      this.#countBefore((other) => comparePlaces(other.place, row.place) < 0),
      0,
      row,
    )
  }

  remove(row: Row): void {
    const index = this.#countBefore((other) => comparePlaces(other.place, row.place) < 0)
    if (this.#rows[index] === row) this.#rows.splice(index, 1)
  }

  /** What comes behind a place, whether or not a row is there. */
  after(place: Place): readonly Row[] {
    return this.#rows.slice(this.#countBefore((row) => comparePlaces(row.place, place) <= 0))
  }

  inPartition(hash: string, partition: string): readonly Row[] {
    const isBefore = ({ place }: Row): boolean =>
      place.hash < hash || (place.hash === hash && compareTexts(place.partition, partition) < 0)
    const from = this.#countBefore(isBefore)
    let to = from
    while (this.#rows[to]?.place.partition === partition) to++
    return this.#rows.slice(from, to)
  }

  #countBefore(isBefore: (row: Row) => boolean): number {
    let low = 0
    let high = this.#rows.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isBefore(this.#rows[middle]!)) low = middle + 1
      else high = middle
    }
    return low
  }
}
