import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

/** A process that runs one worker of an application. It says `ready` once it can be stopped gracefully. */
export class WorkerProcess {
  readonly name: string
  readonly ready: Promise<unknown>
  readonly exited: Promise<number | null>
  readonly #child: ChildProcess

  /** @param config is the process's only argument, as JSON */
  constructor(file: string, config: { readonly workerId: string }) {
    this.name = config.workerId
    this.#child = spawn(process.execPath, ['--conditions=shardwise-source', file, JSON.stringify(config)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.ready = once(this.#child, 'message')
    this.exited = once(this.#child, 'exit').then(([code]) => code as number | null)
  }

  async kill(): Promise<void> {
    this.signal('SIGKILL')
    await this.exited
  }

  /** Resolves to the exit code of a graceful stop. */
  async stop(): Promise<number | null> {
    await this.ready
    this.signal('SIGTERM')
    return await this.exited
  }

  signal(signal: 'SIGTERM' | 'SIGKILL'): void {
    this.#child.kill(signal)
  }
}

/** The worker processes of one application; a killed one is replaced by a new one with a new id. */
export class WorkerProcesses<Config extends { readonly workerId: string }> {
  readonly #file: string
  readonly #configOf: (workerId: string, started: number) => Config
  #workers: WorkerProcess[] = []
  #started = 0

  /** @param configOf gets the worker's id, and how many were started before it */
  constructor(file: string, configOf: (workerId: string, started: number) => Config) {
    this.#file = file
    this.#configOf = configOf
  }

  start(): WorkerProcess {
    const started = this.#started++
    const worker = new WorkerProcess(this.#file, this.#configOf(`worker-${started}`, started))
    this.#workers.push(worker)
    return worker
  }

  /** Kills one, by chance, and starts another. */
  async replace(random: () => number): Promise<void> {
    const worker = this.#workers[Math.floor(random() * this.#workers.length)]!
    this.#workers = this.#workers.filter((other) => other !== worker)
    await worker.kill()
    this.start()
  }

  /** Stops every worker gracefully and returns their exit codes. */
  async stop(): Promise<(number | null)[]> {
    return await Promise.all(this.#workers.map((worker) => worker.stop()))
  }

  killAll(): void {
    for (const worker of this.#workers) worker.signal('SIGKILL')
  }
}
