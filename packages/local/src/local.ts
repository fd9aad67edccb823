import type { FaultRule } from './faults.ts'
import { LocalThread, type ServerSettings } from './local-thread.ts'
import { checkedOptions } from './options.ts'

export interface LocalOptions {
  /** Streams to make, by name, with their number of shards. They are ACTIVE when `startLocal` resolves. */
  readonly streams?: Readonly<Record<string, number>>
  /**
   * Whether the service's limits hold: 1 MiB/s and 1,000 records/s into a shard, 2 MiB/s and 5 calls/s out of it, 2 MiB/s
   * for each subscription, and the rates of the other operations. Default true.
   */
  readonly limits?: boolean
  /** Beyond so many bytes in a stream its oldest records are trimmed, so that memory is bounded. Default 1 GiB. */
  readonly retentionBytes?: number
  /** Records older than this are trimmed. Default 24 hours, the service's own. */
  readonly retentionMs?: number
  /** How long a stream made later is CREATING. Default 0. */
  readonly createMs?: number
  /** How long a stream is UPDATING in a reshard. Default 0. */
  readonly reshardMs?: number
  /** How long a registered consumer is CREATING. Default 0. */
  readonly registerMs?: number
  /** Decides which requests the faults strike: the same for the same seed. Default 1. */
  readonly seed?: number
  /**
   * `'manual'`: time of Kinesis stands still until `local.clock` moves it, so that a test of expiry, retention or a
   * five-minute subscription takes no time. DynamoDB is not concerned. Default `'real'`.
   */
  readonly clock?: 'real' | 'manual'
  /**
   * Whether Kinesis is also served over TLS, on a port of its own with a certificate made at the start. Default false: the
   * certificate takes a tenth of a second.
   */
  readonly tls?: boolean
  /** Whether DynamoDB is served. Default true. */
  readonly dynamodb?: boolean
  /** The port of Kinesis on 127.0.0.1; 0, the default, takes any. */
  readonly kinesisPort?: number
  /** The port of Kinesis over TLS on 127.0.0.1; 0, the default, takes any. */
  readonly kinesisTlsPort?: number
  /** The port of DynamoDB on 127.0.0.1; 0, the default, takes any. */
  readonly dynamodbPort?: number
}

/** What an AWS client needs to reach a local server. Plain data: it can be sent to another process as JSON. */
export interface LocalClientConfig {
  readonly endpoint: string
  readonly region: string
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
}

/** A fault that has been set. */
export interface LocalFault {
  /** How many times it has struck. */
  hits(): Promise<number>
  remove(): Promise<void>
}

export interface LocalFaults {
  /**
   * Makes Kinesis fail by a rule, until the rule's count is used up or it is removed.
   *
   * @throws {TypeError} for a rule that makes no sense
   * @example
   * await local.faults.add({ fault: 'throttle', operation: 'PutRecords', count: 3 })
   */
  add(rule: FaultRule): Promise<LocalFault>
  /** Removes all faults. */
  clear(): Promise<void>
}

/** Moves the time of a Kinesis started with `clock: 'manual'`. */
export interface LocalClock {
  /**
   * Goes on by so many milliseconds. What falls due on the way happens in its order before this resolves.
   *
   * @throws {TypeError} when the servers run in real time
   */
  advance(ms: number): Promise<void>
  /**
   * Goes on to this date, which may not lie in the past.
   *
   * @throws {TypeError} when the servers run in real time
   */
  set(date: Date): Promise<void>
}

export interface Local extends AsyncDisposable {
  readonly kinesisEndpoint: string
  /** @throws {Error} when started without `tls: true` */
  readonly kinesisTlsEndpoint: string
  /**
   * The certificate of `kinesisTlsEndpoint`, PEM: for a client to trust, by its `ca` or in a file by NODE_EXTRA_CA_CERTS.
   *
   * @throws {Error} when started without `tls: true`
   */
  readonly certificate: string
  /** @throws {Error} when started with `dynamodb: false` */
  readonly dynamodbEndpoint: string
  /** For `new KinesisClient(local.kinesis)`. */
  readonly kinesis: LocalClientConfig
  /**
   * For `new DynamoDBClient(local.dynamodb)`.
   *
   * @throws {Error} when started with `dynamodb: false`
   */
  readonly dynamodb: LocalClientConfig
  readonly faults: LocalFaults
  readonly clock: LocalClock
  /**
   * Resolves when the servers have been stopped, and rejects when they broke down by themselves. Without a handler that is
   * an unhandled rejection, which ends the process: broken servers don't go unnoticed.
   */
  readonly closed: Promise<void>
  /** Stops both servers; everything in them is gone. A second call does nothing. */
  stop(): Promise<void>
}

const DEFAULTS: ServerSettings = {
  streams: {},
  limits: true,
  retentionBytes: 2 ** 30,
  retentionMs: 24 * 3_600_000,
  createMs: 0,
  reshardMs: 0,
  registerMs: 0,
  seed: 1,
  clock: 'real',
  tls: false,
  dynamodb: true,
  kinesisPort: 0,
  kinesisTlsPort: 0,
  dynamodbPort: 0,
}

/**
 * Starts Kinesis and DynamoDB on this machine, in a thread of their own, reachable on 127.0.0.1 alone. Everything is kept
 * in memory.
 *
 * @throws {TypeError} for an option that is unknown or out of range
 * @throws {Error} when a port can't be had
 * @example
 * await using local = await startLocal({ streams: { orders: 4 } })
 * const kinesis = new KinesisClient(local.kinesis)
 */
export async function startLocal(options: LocalOptions = {}): Promise<Local> {
  const thread = new LocalThread({ ...DEFAULTS, ...checkedOptions(options) })
  const { kinesisPort, kinesisTlsPort, dynamodbPort, certificate } = await thread.started()
  const kinesisEndpoint = `http://127.0.0.1:${kinesisPort}`
  const withTls = 'There is no TLS here: start with { tls: true }.'
  const withDynamoDB = 'There is no DynamoDB here: start without { dynamodb: false }.'
  const stop = (): Promise<void> => thread.stop()
  const local: Local = {
    kinesisEndpoint,
    kinesis: clientConfig(kinesisEndpoint),
    get kinesisTlsEndpoint() {
      return `https://127.0.0.1:${existing(kinesisTlsPort, withTls)}`
    },
    get certificate() {
      return existing(certificate, withTls)
    },
    get dynamodbEndpoint() {
      return `http://127.0.0.1:${existing(dynamodbPort, withDynamoDB)}`
    },
    get dynamodb() {
      return clientConfig(local.dynamodbEndpoint)
    },
    faults: {
      add: async (rule) => {
        const fault = await thread.call('addFault', rule)
        return { hits: () => thread.call('faultHits', fault), remove: () => thread.call('removeFault', fault) }
      },
      clear: () => thread.call('clearFaults'),
    },
    clock: {
      advance: (ms) => thread.call('advanceClock', ms),
      set: (date) => thread.call('setClock', date),
    },
    // A promise of its own, so that its rejection counts as handled only when the caller has handled it.
    closed: thread.ended.then(() => undefined),
    stop,
    [Symbol.asyncDispose]: stop,
  }
  return local
}

function clientConfig(endpoint: string): LocalClientConfig {
  return { endpoint, region: 'us-east-1', credentials: { accessKeyId: 'local', secretAccessKey: 'local' } }
}

function existing<T>(value: T | undefined, otherwise: string): T {
  if (value === undefined) throw new Error(otherwise)
  return value
}
