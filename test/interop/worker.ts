import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type EventLog, until, type WorkerEvent } from './event-log.ts'
import { type KclVersion, kclWorkerCommand } from './java.ts'
import type { ShardwiseWorkerSettings } from './shardwise-worker.ts'

const shardwiseWorker = fileURLToPath(new URL('shardwise-worker.ts', import.meta.url))

export interface Surroundings {
  readonly log: EventLog
  /** Where each worker's own log goes. */
  readonly folder: string
  readonly application: string
  /** Names, or identifiers where there are several. */
  readonly streams: readonly string[]
  readonly failoverMs: number
  readonly kinesis: { readonly endpoint: string }
  readonly dynamodb: { readonly endpoint: string }
}

/** What only some tests set for a worker of ours. */
export type OurSettings = Partial<Pick<ShardwiseWorkerSettings, 'idle' | 'retrieval' | 'isManual'>>

/** A worker process, a KCL's or ours. */
export class Worker {
  readonly name: string
  readonly #log: EventLog
  readonly #ownLog: string
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>

  private constructor(name: string, command: readonly string[], { log, folder }: Surroundings) {
    this.name = name
    this.#log = log
    this.#ownLog = join(folder, `${name}.log`)
    const stderr = openSync(this.#ownLog, 'w')
    this.#child = spawn(command[0]!, command.slice(1), { stdio: ['pipe', log.fd, stderr] })
    closeSync(stderr)
    this.#exited = once(this.#child, 'exit')
  }

  static kcl(
    version: KclVersion,
    name: string,
    around: Surroundings,
    more: Readonly<Record<string, string>> = {},
  ): Worker {
    const { application, streams, failoverMs, kinesis, dynamodb } = around
    const settings = {
      worker: name,
      application,
      streams: streams.join(),
      failoverMs: String(failoverMs),
      kinesis: kinesis.endpoint,
      dynamodb: dynamodb.endpoint,
      ...more,
    }
    return new Worker(name, kclWorkerCommand(version, settings), around)
  }

  static shardwise(
    name: string,
    around: Surroundings,
    { idle = false, retrieval = 'polling', isManual = false }: OurSettings = {},
  ): Worker {
    const { application, streams, failoverMs, kinesis, dynamodb } = around
    const settings: ShardwiseWorkerSettings = {
      worker: name,
      application,
      streams: streams.map(nameOf),
      failoverMs,
      kinesis,
      dynamodb,
      idle,
      retrieval,
      isManual,
    }
    const command = [process.execPath, '--conditions=shardwise-source', shardwiseWorker, JSON.stringify(settings)]
    return new Worker(name, command, around)
  }

  get runs(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** What this worker told. */
  events(): WorkerEvent[] {
    return this.#log.read().filter(({ worker }) => worker === this.name)
  }

  /** Resolves to the milliseconds until this worker has told what is wanted; fails at once if it ends before. */
  async tells(what: string, isIt: (event: WorkerEvent) => boolean, timeoutMs?: number): Promise<number> {
    const hasTold = (): boolean => {
      const { runs } = this
      if (this.events().some(isIt)) return true
      if (!runs) throw new Error(`ended, and never told: ${what}`)
      return false
    }
    try {
      return await until(what, hasTold, timeoutMs)
    } catch (error) {
      throw new Error(`${this.name}: ${(error as Error).message}\n${this.lastWords()}`)
    }
  }

  async ready(timeoutMs?: number): Promise<number> {
    return await this.tells('ready', ({ event }) => event === 'ready', timeoutMs)
  }

  command(line: string): void {
    this.#child.stdin?.write(`${line}\n`)
  }

  /** Ends gracefully; fails if that goes wrong. Resolves to the milliseconds that it took. */
  async stop(): Promise<number> {
    const startedAt = performance.now()
    if (this.runs) this.command('stop')
    await this.#exited
    if (this.#child.exitCode !== 0) {
      throw new Error(`${this.name} ended with ${this.#child.exitCode ?? this.#child.signalCode}\n${this.lastWords()}`)
    }
    return performance.now() - startedAt
  }

  /** Stands still, as a machine does that is suspended. */
  pause(): void {
    this.#child.kill('SIGSTOP')
  }

  resume(): void {
    this.#child.kill('SIGCONT')
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  lastWords(): string {
    return readFileSync(this.#ownLog, 'utf8').split('\n').slice(-25).join('\n')
  }
}

/** A stream's name out of `account:name:creation time`, its identifier. */
export function nameOf(stream: string): string {
  return stream.split(':')[1] ?? stream
}
