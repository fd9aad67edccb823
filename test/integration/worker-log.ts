/** What worker processes tell, in a file that all of them append to: the order of its lines is the order over all of them. */
import { readFileSync, statSync, writeSync } from 'node:fs'

/** What becomes of a record, by what is written in it. `flaky` fails once, `bad` always. */
export type Does = 'quick' | 'slow' | 'flaky' | 'bad' | 'block' | 'hang'

/** What the stream's records hold. */
export interface Payload {
  readonly number: number
  readonly does: Does
}

export type Line = { readonly worker: string } & (
  | { readonly told: 'delivered' | 'finished'; readonly key: string; readonly number: number; readonly shardId: string }
  | {
      readonly told: 'event'
      readonly type: string
      readonly shardId: string | undefined
      /** The handler that blocked the event loop, and the key of its record. */
      readonly blocker?: string
    }
  /** A write to a lease is sent. */
  | { readonly told: 'writing'; readonly shardId: string }
  | { readonly told: 'blocking' | 'unblocked' | 'stopping' }
)

type Told<T = Line> = T extends Line ? Omit<T, 'worker'> : never

/** Appends a line to an open file, in one write. */
export function tell(file: number, worker: string, told: Told): void {
  writeSync(file, `${JSON.stringify({ worker, ...told })}\n`)
}

/** All lines of a file, each with the length of the file up to its end. */
export function readLines(path: string): (Line & { readonly endsAt: number })[] {
  let endsAt = 0
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1)
  return lines.map((line) => {
    endsAt += Buffer.byteLength(line) + 1
    return { ...(JSON.parse(line) as Line), endsAt }
  })
}

export function bytesIn(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}
