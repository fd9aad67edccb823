import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { ConsumerOptions } from '@shardwise/consumer'
import { type Delivery, nanoseconds, REPORT_FD, ReportDecoder } from './report-channel.ts'

/** What a worker is started with, as JSON. */
export interface WorkerConfig {
  readonly consumer: Omit<ConsumerOptions, 'logger' | 'onEvent' | 'clock' | 'random' | 'kinesis' | 'dynamodb'>
  readonly valueField?: string | undefined
}

/** What a worker sends now and then. */
export type FromWorker =
  /** The shards whose leases it holds. */
  { readonly kind: 'status'; readonly shardIds: readonly string[] } | { readonly kind: 'log'; readonly text: string }

export interface WorkerListener {
  onDelivery(delivery: Delivery, worker: WorkerProcess): void
  onStatus(worker: WorkerProcess): void
  onLog(worker: WorkerProcess, text: string): void
  /** It ended otherwise than it was asked to. */
  onDeath(worker: WorkerProcess, how: string): void
}

/** A worker process, seen from the parent. */
export class WorkerProcess {
  readonly index: number
  readonly name: string
  /** The shards it holds, as of its last status; none once it is gone. */
  shardIds: readonly string[] = []
  /** Whether it has sent a status. */
  up = false
  readonly #child: ChildProcess
  /** Resolves when the process is gone and every report of it is read. */
  readonly #closed: Promise<unknown>
  #asked: 'run' | 'stop' | 'die' = 'run'

  constructor(index: number, config: WorkerConfig, listener: WorkerListener) {
    this.index = index
    this.name = config.consumer.workerId ?? `worker-${index + 1}`
    const file = fileURLToPath(new URL('./worker.ts', import.meta.url))
    this.#child = spawn(process.execPath, [...process.execArgv, file, JSON.stringify(config)], {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'ipc'],
    })
    const decoder = new ReportDecoder((delivery) => listener.onDelivery(delivery, this))
    const reports = this.#child.stdio[REPORT_FD] as Socket
    reports.on('data', (chunk: Buffer) => decoder.push(chunk))
    this.#child.on('message', (message: FromWorker) => {
      if (message.kind === 'log') {
        listener.onLog(this, message.text)
      } else if (this.alive) {
        this.shardIds = message.shardIds
        this.up = true
        listener.onStatus(this)
      }
    })
    this.#closed = once(this.#child, 'close').then(([code, signal]) => {
      this.shardIds = []
      if (this.#asked === 'die' || (this.#asked === 'stop' && code === 0)) return
      listener.onDeath(this, signal === null ? `exited with code ${code}` : `was ended by ${signal}`)
    })
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Kills it at once. Resolves, with the time of the signal, when it is gone and its last report is read. */
  async kill(): Promise<number> {
    this.#asked = 'die'
    const at = nanoseconds(process.hrtime())
    this.#child.kill('SIGKILL')
    await this.#closed
    return at
  }

  /** Lets it finish what it has in hand and give back its leases; kills it when that takes longer than `deadlineMs`. */
  async stop(deadlineMs: number): Promise<void> {
    if (this.#asked === 'run') {
      this.#asked = 'stop'
      if (this.#child.connected) this.#child.send('stop')
    }
    const deadline = setTimeout(() => this.#child.kill('SIGKILL'), deadlineMs)
    await this.#closed
    clearTimeout(deadline)
  }
}
