import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { LocalClientConfig, LocalOptions } from '@shardwise/local'

/** What clients need to reach the servers. */
export interface ServerConfig {
  readonly kinesis: LocalClientConfig
  readonly dynamodb: LocalClientConfig
}

export interface LocalProcess extends ServerConfig, AsyncDisposable {}

export interface WriterConfig {
  readonly kinesis: LocalClientConfig
  readonly stream: string
  /** Records a second. */
  readonly rate: number
  readonly bytes: number
}

/** Starts Kinesis and DynamoDB in a process of their own, so that what is measured in this one is the client alone. */
export async function startLocalProcess(options: LocalOptions): Promise<LocalProcess> {
  const child = start(new URL('./server.ts', import.meta.url), options)
  const exited = once(child, 'exit')
  const [config] = (await Promise.race([once(child, 'message'), exited])) as [ServerConfig | number | null]
  if (config === null || typeof config === 'number') throw new Error(`the local servers ended at once, with ${config}`)
  return { ...config, [Symbol.asyncDispose]: () => end(child) }
}

/** Starts a process that puts records at a steady rate. */
export function startWriterProcess(config: WriterConfig): AsyncDisposable {
  const child = start(new URL('./writer.ts', import.meta.url), config)
  return { [Symbol.asyncDispose]: () => end(child) }
}

function start(file: URL, argument: object): ChildProcess {
  return fork(file, [JSON.stringify(argument)], { execArgv: ['--conditions=shardwise-source'] })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.disconnect()
  await exited
}
