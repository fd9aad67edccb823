import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { News, Order, Requests, WorkerConfig } from './messages.ts'

const WORKER_FILE = fileURLToPath(new URL('./worker.ts', import.meta.url))

/** A worker in a process of its own, as the measuring process sees it. */
export class WorkerProcess {
  readonly workerId: string
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>
  #leads = false
  #onRequests: (requests: Requests) => void = () => {}

  /** Resolves when the worker has booted and waits to be told to run. */
  static async boot(config: WorkerConfig, onNews: (news: News, workerId: string) => void): Promise<WorkerProcess> {
    const child = spawn(process.execPath, ['--conditions=shardwise-source', WORKER_FILE, JSON.stringify(config)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    const worker = new WorkerProcess(config.workerId, child)
    const ready = once(child, 'message')
    child.on('message', (news: News) => {
      worker.#take(news)
      onNews(news, config.workerId)
    })
    await ready
    return worker
  }

  private constructor(workerId: string, child: ChildProcess) {
    this.workerId = workerId
    this.#child = child
    this.#exited = once(child, 'exit')
  }

  /** Whether it leads, as far as it has told. */
  get leads(): boolean {
    return this.#leads
  }

  run(): void {
    this.#order('run')
  }

  /** Resolves when the process has ended by itself. */
  async close(): Promise<void> {
    this.#order('close')
    await this.#exited
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  /** That it has made so far. */
  async requests(): Promise<Requests> {
    const { promise, resolve } = Promise.withResolvers<Requests>()
    this.#onRequests = resolve
    this.#order('count')
    return await promise
  }

  #order(order: Order): void {
    this.#child.send(order)
  }

  #take(news: News): void {
    if (news.type === 'leads') this.#leads = news.leads
    else if (news.type === 'counted') this.#onRequests(news.requests)
  }
}
