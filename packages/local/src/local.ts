import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { ServerPorts, ServerSettings } from './server-thread.ts'

export interface LocalOptions {
  /** Streams to make, by name, with their number of shards. They are ACTIVE when `startLocal` resolves. */
  readonly streams?: Readonly<Record<string, number>>
  /** Whether a shard has the service's limits: 1 MiB/s and 1,000 records/s in, 2 MiB/s and 5 calls/s out. Default true. */
  readonly limits?: boolean
  /** Beyond so many bytes in a stream its oldest records are trimmed, so that memory is bounded. Default 1 GiB. */
  readonly retentionBytes?: number
  /** Records older than this are trimmed. Default 24 hours, the service's own. */
  readonly retentionMs?: number
  /** The port of Kinesis on 127.0.0.1; 0, the default, takes any. */
  readonly kinesisPort?: number
  /** The port of DynamoDB on 127.0.0.1; 0, the default, takes any. */
  readonly dynamodbPort?: number
}

/** What an AWS client needs to reach a local server. Plain data: it can be sent to another process as JSON. */
export interface LocalClientConfig {
  readonly endpoint: string
  readonly region: string
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
}

export interface Local extends AsyncDisposable {
  readonly kinesisEndpoint: string
  readonly dynamodbEndpoint: string
  /** For `new KinesisClient(local.kinesis)`. */
  readonly kinesis: LocalClientConfig
  /** For `new DynamoDBClient(local.dynamodb)`. */
  readonly dynamodb: LocalClientConfig
  /** Stops both servers; everything in them is gone. A second call does nothing. */
  stop(): Promise<void>
}

const FROM_SOURCES = import.meta.url.endsWith('.ts')
const DEFAULTS = {
  streams: {},
  limits: true,
  retentionBytes: 2 ** 30,
  retentionMs: 24 * 3_600_000,
  kinesisPort: 0,
  dynamodbPort: 0,
}

/**
 * Starts Kinesis and DynamoDB on this machine, in a thread of their own, reachable on 127.0.0.1 alone. Everything is kept
 * in memory.
 *
 * @throws {TypeError} for an option that is unknown or out of range
 * @example
 * await using local = await startLocal({ streams: { orders: 4 } })
 * const kinesis = new KinesisClient(local.kinesis)
 */
export async function startLocal(options: LocalOptions = {}): Promise<Local> {
  const settings: ServerSettings = { ...DEFAULTS, ...checked(options) }
  // Its own flags, not the process's: some of those (--input-type, --test) are not for a thread.
  const thread = FROM_SOURCES
    ? new Worker(new URL('./server-thread.ts', import.meta.url), {
        workerData: settings,
        execArgv: ['--conditions=shardwise-source'],
      })
    : new Worker(new URL('./server-thread.js', import.meta.url), { workerData: settings, execArgv: [] })
  const [ports] = (await once(thread, 'message')) as [ServerPorts]
  let stopped: Promise<void> | undefined
  const stop = (): Promise<void> => {
    stopped ??= (async () => {
      const exited = once(thread, 'exit')
      thread.postMessage('stop')
      await exited
    })()
    return stopped
  }
  const kinesisEndpoint = `http://127.0.0.1:${ports.kinesisPort}`
  const dynamodbEndpoint = `http://127.0.0.1:${ports.dynamodbPort}`
  return {
    kinesisEndpoint,
    dynamodbEndpoint,
    kinesis: clientConfig(kinesisEndpoint),
    dynamodb: clientConfig(dynamodbEndpoint),
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

function clientConfig(endpoint: string): LocalClientConfig {
  return { endpoint, region: 'us-east-1', credentials: { accessKeyId: 'local', secretAccessKey: 'local' } }
}

function checked(options: LocalOptions): LocalOptions {
  const given: LocalOptions = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(DEFAULTS, name)) {
      throw new TypeError(`startLocal: unknown option "${name}"; known options: ${Object.keys(DEFAULTS).join(', ')}`)
    }
  }
  for (const [name, shards] of Object.entries(given.streams ?? {})) {
    if (!Number.isInteger(shards) || shards < 1) {
      throw new TypeError(
        `startLocal: stream "${name}": expected a number of shards of at least 1, got ${String(shards)}`,
      )
    }
  }
  if (given.limits !== undefined && typeof given.limits !== 'boolean') {
    throw new TypeError(`startLocal: "limits" must be true or false, got ${String(given.limits)}`)
  }
  for (const name of ['retentionBytes', 'retentionMs'] as const) {
    const value = given[name]
    if (value !== undefined && !(typeof value === 'number' && value > 0)) {
      throw new TypeError(`startLocal: "${name}" must be a number above 0, got ${String(value)}`)
    }
  }
  for (const name of ['kinesisPort', 'dynamodbPort'] as const) {
    const port = given[name] ?? 0
    if (!Number.isInteger(port) || port < 0 || port > 65_535) {
      throw new TypeError(`startLocal: "${name}" must be a port from 0 to 65535, got ${String(port)}`)
    }
  }
  return given
}
