import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { FaultRule } from './faults.ts'
import type { LocalOptions } from './local.ts'

export type ServerSettings = Required<LocalOptions>

/** What the thread says when its servers listen. */
export interface Started {
  readonly kinesisPort: number
  readonly kinesisTlsPort: number | undefined
  readonly dynamodbPort: number | undefined
  readonly certificate: string | undefined
}

/** What the thread does when it is told to. */
export interface ThreadCalls {
  /** Gives the fault a number, by which the others know it. */
  addFault(rule: FaultRule): number
  faultHits(fault: number): number
  removeFault(fault: number): void
  clearFaults(): void
  advanceClock(ms: number): Promise<void>
  setClock(date: Date): Promise<void>
  /** Ends the thread instead of returning. */
  stop(): Promise<void>
}

export interface ThreadCall {
  readonly id: number
  readonly method: keyof ThreadCalls
  readonly args: readonly unknown[]
}

interface ThreadAnswer {
  readonly id: number
  readonly value?: unknown
  readonly error?: Error
}

interface Pending {
  readonly resolve: (value: never) => void
  readonly reject: (error: Error) => void
}

const FROM_SOURCES = import.meta.url.endsWith('.ts')
const SERVER_THREAD = new URL(FROM_SOURCES ? './server-thread.ts' : './server-thread.js', import.meta.url)

/** The thread of the servers as the caller's thread sees it. */
export class LocalThread {
  /** Resolves when the thread was stopped, rejects when it ended otherwise. */
  readonly ended: Promise<void>
  readonly #worker: Worker
  readonly #pending = new Map<number, Pending>()
  #calls = 0
  #isStopping = false
  #endedBy: Error | undefined

  constructor(settings: ServerSettings, url: URL = SERVER_THREAD) {
    // Its own flags, not the process's: some of those (--input-type, --test) are not for a thread.
    const execArgv = FROM_SOURCES ? ['--conditions=shardwise-source'] : []
    this.#worker = new Worker(url, { workerData: settings, execArgv })
    this.ended = new Promise((resolve, reject) => {
      this.#worker.once('error', reject)
      this.#worker.once('exit', (code) => {
        if (this.#isStopping) resolve()
        else reject(new Error(`The thread of the local servers ended by itself, with exit code ${code}.`))
      })
    })
    this.ended.then(
      () => this.#end(new Error('The local servers have been stopped.')),
      (error: Error) => this.#end(error),
    )
  }

  /** @throws {Error} why the servers didn't start */
  async started(): Promise<Started> {
    const [started] = (await Promise.race([once(this.#worker, 'message'), this.ended])) as [Started]
    this.#worker.on('message', ({ id, value, error }: ThreadAnswer) => {
      const pending = this.#pending.get(id)
      this.#pending.delete(id)
      if (error === undefined) pending?.resolve(value as never)
      else pending?.reject(error)
    })
    return started
  }

  call<Method extends keyof ThreadCalls>(
    method: Method,
    ...args: Parameters<ThreadCalls[Method]>
  ): Promise<Awaited<ReturnType<ThreadCalls[Method]>>> {
    return new Promise((resolve, reject) => {
      if (this.#endedBy !== undefined) throw this.#endedBy
      const id = this.#calls++
      this.#pending.set(id, { resolve, reject })
      this.#worker.postMessage({ id, method, args } satisfies ThreadCall)
    })
  }

  /** Stops the servers and ends the thread. */
  stop(): Promise<void> {
    if (!this.#isStopping) {
      this.#isStopping = true
      // It never answers: the thread ends, which rejects what still waits for an answer.
      this.call('stop').catch(() => undefined)
    }
    return this.ended
  }

  #end(error: Error): void {
    this.#endedBy = error
    for (const { reject } of this.#pending.values()) reject(error)
    this.#pending.clear()
  }
}
