import { closeSync, openSync, readSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'

/** What a worker tells, of either kind. */
export type WorkerEvent = { readonly worker: string } & (
  | { readonly event: 'ready' | 'preparing' | 'stopped' }
  | {
      readonly event: 'started'
      readonly stream: string
      readonly shard: string
      readonly sequence: string
      readonly sub: number
      /** A checkpoint that was prepared and not made, and what was noted with it. */
      readonly pending?: string
      readonly pendingSub?: number
      readonly state?: string
    }
  | {
      readonly event: 'record'
      readonly stream: string
      readonly shard: string
      readonly sequence: string
      readonly sub: number
      readonly key: string
      readonly data: string
    }
  | {
      readonly event: 'prepared'
      readonly stream: string
      readonly shard: string
      readonly sequence: string
      readonly sub: number
    }
  | {
      readonly event: 'leaseLost' | 'handedOff' | 'shardEnded' | 'checkpointRefused'
      readonly stream: string
      readonly shard: string
    }
  | { readonly event: 'failed'; readonly code: string; readonly message: string }
)

export type Delivery = Extract<WorkerEvent, { readonly event: 'record' }>

const POLL_MS = 50

/** The one file to which all workers append, so that the order of its lines is the order of events over all processes. */
export class EventLog {
  readonly fd: number
  readonly #events: WorkerEvent[] = []
  readonly #chunk = Buffer.alloc(1 << 20)
  #rest = Buffer.alloc(0)
  #readBytes = 0

  constructor(file: string) {
    this.fd = openSync(file, 'a+')
  }

  /** All events so far. */
  read(): readonly WorkerEvent[] {
    for (;;) {
      const count = readSync(this.fd, this.#chunk, 0, this.#chunk.length, this.#readBytes)
      if (count === 0) return this.#events
      this.#readBytes += count
      this.#rest = Buffer.concat([this.#rest, this.#chunk.subarray(0, count)])
      const end = this.#rest.lastIndexOf(10) + 1
      const lines = this.#rest.subarray(0, end).toString('utf8').split('\n').slice(0, -1)
      for (const line of lines) this.#events.push(JSON.parse(line) as WorkerEvent)
      this.#rest = this.#rest.subarray(end)
    }
  }

  deliveries(): readonly Delivery[] {
    return this.read().filter((event) => event.event === 'record')
  }

  close(): void {
    closeSync(this.fd)
  }
}

/** Waits for something to become true. Resolves to the milliseconds that it took. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>, timeoutMs = 60_000): Promise<number> {
  const startedAt = performance.now()
  while (!(await isSo())) {
    if (performance.now() - startedAt > timeoutMs) throw new Error(`still not so after ${timeoutMs} ms: ${what}`)
    await setTimeout(POLL_MS)
  }
  return performance.now() - startedAt
}
