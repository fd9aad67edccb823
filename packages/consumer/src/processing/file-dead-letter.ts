import { type FileHandle, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { nonEmptyString, OptionError } from '@shardwise/core'
import type { DeadLetter, SendDeadLetter } from './dead-letter.ts'

/**
 * A `deadLetter` that keeps records in a file on this machine, a line of JSON for each: `kind`, `application`, `worker`, `stream`,
 * `shardId`, `sequenceNumber`, `subSequenceNumber`, `arrivedAt`, `partitionKey`, `explicitHashKey`, `data` in base64, `attempts`,
 * `firstFailedAt` and `error` with `name`, `code`, `message` and `stack`. Lines are appended, and on the disk before the record counts as
 * finished.
 *
 * @param path created if there is no such file; its directory must exist
 * @throws {OptionError} if it isn't a path
 *
 * @example
 * const consumer = new Consumer({ application: 'delays', stream: 'flights', deadLetter: fileDeadLetter('dead-letters.ndjson') })
 */
export function fileDeadLetter(path: string): SendDeadLetter {
  if (nonEmptyString(path) !== undefined) {
    throw new OptionError('path', `fileDeadLetter: expected the path of a file, got ${JSON.stringify(path)}.`)
  }
  const file = new LineFile(path)
  return (letter) => file.append(lineOf(letter))
}

/** Appends lines, those that come while it writes all at once. */
class LineFile {
  readonly #path: string
  #waiting: { readonly line: string; readonly written: PromiseWithResolvers<void> }[] = []
  #isWriting = false

  constructor(path: string) {
    this.#path = path
  }

  /** Resolves when it is on the disk. */
  append(line: string): Promise<void> {
    const written = Promise.withResolvers<void>()
    this.#waiting.push({ line, written })
    if (!this.#isWriting) void this.#write()
    return written.promise
  }

  async #write(): Promise<void> {
    this.#isWriting = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      try {
        await this.#add(batch.map(({ line }) => line))
        for (const { written } of batch) written.resolve()
      } catch (error) {
        for (const { written } of batch) written.reject(error)
      }
    }
    this.#isWriting = false
  }

  /** Opens the file each time: it may have been moved away, and nothing keeps the process. */
  async #add(lines: readonly string[]): Promise<void> {
    const file = await open(this.#path, 'a+')
    try {
      const { size } = await file.stat()
      // A crash, or a full disk, may have left half a line.
      const start = size === 0 || (await endsLine(file, size)) ? '' : '\n'
      await file.appendFile(`${start}${lines.join('')}`)
      await file.sync()
      if (size === 0) await syncDirectoryOf(this.#path)
    } finally {
      await file.close()
    }
  }
}

async function endsLine(file: FileHandle, size: number): Promise<boolean> {
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1)
  return buffer.toString() === '\n'
}

/** Without it the name of a new file may not survive what the file survives. */
async function syncDirectoryOf(path: string): Promise<void> {
  // Directories can't be opened there.
  if (process.platform === 'win32') return
  const directory = await open(dirname(path), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function lineOf({ kind, partitionKey, data, error, attempts, firstFailedAt, origin, ...rest }: DeadLetter): string {
  const explicitHashKey = 'record' in rest ? rest.record.explicitHashKey : undefined
  const { buffer, byteOffset, byteLength } = data
  const line = {
    kind,
    ...origin,
    partitionKey,
    explicitHashKey,
    data: Buffer.from(buffer, byteOffset, byteLength).toString('base64'),
    attempts,
    firstFailedAt,
    error: described(error),
  }
  return `${JSON.stringify(line)}\n`
}

function described(error: unknown): object {
  const { name, code, message, stack } = Object(error) as Record<string, unknown>
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)
  return { name: text(name), code: text(code), message: text(message) ?? String(error), stack: text(stack) }
}
