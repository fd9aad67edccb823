/** One record of the input, before it gets its number in the run. */
export interface SourceRecord {
  readonly key: string
  /** The record as the text of a JSON object. */
  readonly json: string
}

/** Count and sum of the added-up value, of one key. */
export interface Total {
  count: number
  sum: number
}

/** What the job runs on: a file that can be read twice, once to put it and once more to check what came out. */
export interface Source {
  /** What is read, for people. */
  readonly title: string
  /** What one record, one key and the mean of a key are called. */
  readonly words: { readonly records: string; readonly key: string; readonly keys: string; readonly mean: string }
  /** How many records `batches` gives. */
  readonly total: number
  /** The JSON field that is added up; without one it is the length of the record's JSON in bytes. */
  readonly valueField?: string
  /** The records in their order, some at a time, so that the file never lies in memory as a whole. */
  batches(): AsyncIterable<readonly SourceRecord[]>
  /** Adds up the file directly, past the stream. */
  totals(): Promise<Map<string, Total>>
}

/** The input can't be used. The message says where and why; it is the user's to mend. */
export class SourceError extends Error {
  override readonly name = 'SourceError'
}

export function addTo(totals: Map<string, Total>, key: string, value: number): void {
  const total = totals.get(key)
  if (total === undefined) {
    totals.set(key, { count: 1, sum: value })
  } else {
    total.count++
    total.sum += value
  }
}
