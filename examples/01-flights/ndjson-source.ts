import { isUtf8 } from 'node:buffer'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename } from 'node:path'
import { addTo, type Source, SourceError, type SourceRecord, type Total } from './source.ts'

/** The service's limit of a record, data and partition key together. */
const MAX_RECORD_BYTES = 2 ** 20
/** Room for the number that goes in front of each line. */
const NUMBER_BYTES = 24
const NEWLINE = 0x0a

/** A file of one's own: one JSON object a line, its key at a dotted path inside. */
export class NdjsonSource implements Source {
  readonly words: Source['words']
  readonly title: string
  readonly total: number
  readonly #path: string
  readonly #keyPath: string

  private constructor(path: string, keyPath: string, total: number) {
    this.#path = path
    this.#keyPath = keyPath
    this.total = total
    this.title = `records of ${basename(path)} by ${keyPath}`
    this.words = { records: 'records', key: keyPath, keys: 'keys', mean: 'mean bytes' }
  }

  /**
   * Reads the file once as far as it will be used, so that a wrong line is found before anything starts.
   *
   * @param limit how many lines at most, blank ones not counted
   */
  static async open(path: string, keyPath: string, limit: number): Promise<NdjsonSource> {
    await refuseOtherFormats(path)
    let total = 0
    for await (const batch of new NdjsonSource(path, keyPath, limit).batches()) total += batch.length
    if (total === 0) throw new SourceError(`${path}: expected at least one JSON object, the file holds none`)
    return new NdjsonSource(path, keyPath, total)
  }

  async *batches(): AsyncGenerator<SourceRecord[]> {
    let left = this.total
    for await (const lines of linesOf(this.#path)) {
      const batch: SourceRecord[] = []
      for (const { number, text } of lines) {
        if (batch.length === left) break
        if (text !== '') batch.push(parseLine(text, this.#keyPath, `${this.#path}, line ${number}`))
      }
      left -= batch.length
      yield batch
      if (left === 0) return
    }
  }

  async totals(): Promise<Map<string, Total>> {
    const totals = new Map<string, Total>()
    for await (const batch of this.batches()) {
      for (const { key, json } of batch) addTo(totals, key, Buffer.byteLength(json))
    }
    return totals
  }
}

/** @throws {SourceError} naming `place` when the line is not a JSON object that has the key */
export function parseLine(text: string, keyPath: string, place: string): SourceRecord {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new SourceError(`${place}: expected a JSON object: ${(error as Error).message}`)
  }
  if (!isObject(value)) throw new SourceError(`${place}: expected a JSON object, got ${nameOf(value)}`)
  if (Object.hasOwn(value, '#')) {
    throw new SourceError(`${place}: the field "#" is taken: the job puts each record's number there`)
  }
  const key = keyAt(value, keyPath, text)
  if (typeof key !== 'string') {
    throw new SourceError(`${place}: expected a string or a number at "${keyPath}" (--key), got ${nameOf(key)}`)
  }
  const length = [...key].length
  if (length < 1 || length > 256) {
    throw new SourceError(`${place}: a partition key has 1 to 256 characters, the one at "${keyPath}" has ${length}`)
  }
  const json = Object.keys(value).length === 0 ? '{}' : text
  const bytes = Buffer.byteLength(json) + Buffer.byteLength(key) + NUMBER_BYTES
  if (bytes > MAX_RECORD_BYTES) {
    throw new SourceError(
      `${place}: a record with its key and number has at most ${MAX_RECORD_BYTES} bytes, got ${bytes}`,
    )
  }
  return { key, json }
}

/** The key as text; a number as it is written, so that big ids stay apart. */
function keyAt(value: object, path: string, text: string): unknown {
  const names = path.split('.')
  let found: unknown = value
  for (const name of names) {
    if (!isObject(found) || !Object.hasOwn(found, name)) return undefined
    found = found[name]
  }
  if (typeof found !== 'number') return found
  return Number.isSafeInteger(found) ? String(found) : keyAt(withNumbersAsWritten(text), path, '')
}

function withNumbersAsWritten(text: string): object {
  type Reviver = (name: string, value: unknown, context: { source: string }) => unknown
  const asWritten: Reviver = (_name, value, { source }) => (typeof value === 'number' ? source : value)
  return JSON.parse(text, asWritten as Parameters<typeof JSON.parse>[1]) as object
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function nameOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  return Array.isArray(value) ? 'an array' : typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

async function refuseOtherFormats(path: string): Promise<void> {
  try {
    await using file = await open(path)
    if (!(await file.stat()).isFile()) throw new SourceError(`${path}: expected a file`)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0)
    const start = buffer.subarray(0, bytesRead)
    if (start.toString('latin1') === 'PAR1') {
      throw new SourceError(`${path}: --input takes JSON objects, one a line; this is a Parquet file`)
    }
    if (start[0] === 0x1f && start[1] === 0x8b) {
      throw new SourceError(`${path}: --input takes JSON objects, one a line; this is gzipped, unpack it first`)
    }
  } catch (error) {
    if (error instanceof SourceError) throw error
    throw new SourceError(`${path} can't be read: ${(error as Error).message}`)
  }
}

interface Line {
  readonly number: number
  readonly text: string
}

/** The lines of a file, trimmed, as many at a time as one read gives. A line may be as long as a record. */
async function* linesOf(path: string): AsyncGenerator<Line[]> {
  let number = 0
  let rest: Buffer = Buffer.alloc(0)
  const toLine = (bytes: Buffer): Line => {
    number++
    if (!isUtf8(bytes)) throw new SourceError(`${path}, line ${number}: expected UTF-8`)
    return { number, text: bytes.toString('utf8').trim() }
  }
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 18 }) as AsyncIterable<Buffer>) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const lines: Line[] = []
    let start = 0
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      lines.push(toLine(bytes.subarray(start, end)))
      start = end + 1
    }
    rest = bytes.subarray(start)
    if (rest.length > 2 * MAX_RECORD_BYTES) {
      throw new SourceError(`${path}, line ${number + 1}: longer than a record may be (${MAX_RECORD_BYTES} bytes)`)
    }
    yield lines
  }
  if (rest.length > 0) yield [toLine(rest)]
}
