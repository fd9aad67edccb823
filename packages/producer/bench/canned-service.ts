import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import type { KinesisClientConfig } from '@aws-sdk/client-kinesis'
import type { Order, Report } from './canned-server.ts'

/** The canned server in a process of its own. */
export interface CannedService extends AsyncDisposable {
  /** For the SDK's client. */
  readonly clientConfig: KinesisClientConfig
  /** CPU time that the server has had, in microseconds. */
  cpu(): Promise<number>
  /** What it does with requests from now on; at first it answers. Connections that are open are cut. */
  be(order: Exclude<Order, 'cpu'>): Promise<void>
}

/** @param core the processor that the server is to keep to; undefined: any */
export async function startCannedService(shards: number, core: number | undefined): Promise<CannedService> {
  const server = fork(new URL('canned-server.ts', import.meta.url), [`${shards}`], {
    execArgv: ['--conditions=shardwise-source'],
  })
  const ask = async (order?: Order): Promise<Report> => {
    if (order !== undefined) server.send(order)
    const [report] = await once(server, 'message')
    return report as Report
  }
  const first = await ask()
  if (!('port' in first)) throw new Error('expected the server to tell its port first')
  if (core !== undefined) pin(server.pid, core)
  return {
    clientConfig: {
      endpoint: `http://127.0.0.1:${first.port}`,
      region: 'us-east-1',
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    },
    cpu: async () => {
      const report = await ask('cpu')
      return 'cpuMicroseconds' in report ? report.cpuMicroseconds : Number.NaN
    },
    be: async (order) => {
      await ask(order)
    },
    [Symbol.asyncDispose]: async () => {
      server.disconnect()
      await once(server, 'exit')
    },
  }
}

/** Keeps a process, with all its threads, to one processor. Returns whether it could. */
export function pin(pid: number | undefined, core: number): boolean {
  try {
    execFileSync('taskset', ['-a', '-c', '-p', `${core}`, `${pid}`], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
