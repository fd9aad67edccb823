import { Kinesis } from '@aws-sdk/client-kinesis'
import { type LocalClientConfig, startLocal } from '@shardwise/local'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import type { Need } from './case.ts'
import { startKinesisLocal } from './kinesis-local.ts'
import { findLocalStack } from './localstack.ts'

export type BackendName = '@shardwise/local' | 'kinesis-local' | 'LocalStack'

/** A Kinesis that may be on this machine. */
export interface BackendKind {
  readonly name: BackendName
  /** Why it can't be had here, if so. */
  readonly missing: string | undefined
  /** Whether its cases may run side by side. */
  readonly parallel: boolean
  /** The needs of cases that it isn't asked for. */
  readonly lacks: Readonly<Partial<Record<Need, Lack>>>
  start(): Promise<Backend>
}

/** A Kinesis that runs. */
export interface Backend {
  /** What a case talks to: one for all, or one of its own if the case needs something special. */
  open(need: Need | undefined): Promise<Access>
  stop(): Promise<void>
}

export interface Access {
  readonly kinesis: Kinesis
  /** Moves time on by so many milliseconds. */
  advance(ms: number): Promise<void>
  close(): Promise<void>
}

/** What an emulator is once it runs. */
export interface Emulator {
  readonly endpoint: string
  stop(): Promise<void>
}

/** One attempt a call: a case wants to see the error that the first is answered with. */
const SETTINGS = { region: 'us-east-1', credentials: { accessKeyId: 'test', secretAccessKey: 'test' }, maxAttempts: 1 }

/** Why some cases are not asked for. */
export interface Lack {
  readonly need: string
  readonly why: string
}

/** Limits are not among them: that they don't hold is a difference like others. */
export const EMULATORS_LACK: Readonly<Partial<Record<Need, Lack>>> = {
  clock: { need: 'time that can be moved', why: 'they have a clock of their own' },
  speed: { need: 'more than ten megabytes', why: 'that takes them ten seconds' },
}

/** All backends that there are, in the order in which they are asked. */
export async function backendKinds(): Promise<readonly BackendKind[]> {
  const localStack = await findLocalStack()
  return [
    { name: '@shardwise/local', missing: undefined, parallel: true, lacks: {}, start: startLocalBackend },
    {
      name: 'kinesis-local',
      missing: undefined,
      parallel: true,
      lacks: EMULATORS_LACK,
      start: async () => emulated(await startKinesisLocal()),
    },
    {
      name: 'LocalStack',
      missing: 'missing' in localStack ? localStack.missing : undefined,
      // Its SubscribeToShard looks through all streams and breaks if one of them is deleted meanwhile.
      parallel: false,
      lacks: EMULATORS_LACK,
      start: async () => {
        if ('missing' in localStack) throw new Error(localStack.missing)
        return emulated(await localStack.start())
      },
    },
  ]
}

async function startLocalBackend(): Promise<Backend> {
  const shared = await startLocal({ limits: false, dynamodb: false })
  const kinesis = http2(shared.kinesis)
  return {
    open: async (need) => {
      if (need === undefined || need === 'speed') {
        return { kinesis, advance: (ms) => shared.clock.advance(ms), close: async () => {} }
      }
      const own = await startLocal({
        limits: need === 'limits',
        clock: need === 'clock' ? 'manual' : 'real',
        dynamodb: false,
      })
      const client = http2(own.kinesis)
      return {
        kinesis: client,
        advance: (ms) => own.clock.advance(ms),
        close: async () => {
          client.destroy()
          await own.stop()
        },
      }
    },
    stop: async () => {
      kinesis.destroy()
      await shared.stop()
    },
  }
}

/** With the SDK's own handler, which speaks HTTP/2. */
function http2(config: LocalClientConfig): Kinesis {
  return new Kinesis({ ...SETTINGS, ...config })
}

function emulated({ endpoint, stop }: Emulator): Backend {
  const kinesis = new Kinesis({ ...SETTINGS, endpoint, requestHandler: new NodeHttpHandler() })
  const advance = (): Promise<void> => Promise.reject(new Error('the time of an emulator cannot be moved'))
  return {
    open: () => Promise.resolve({ kinesis, advance, close: async () => {} }),
    stop: async () => {
      kinesis.destroy()
      await stop()
    },
  }
}
