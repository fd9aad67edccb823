import { hashKeyOf } from '@shardwise/records'
import type { ConsumerOptions, EachRecord, ShardHook, ShardStatus } from '../src/index.ts'
import type { Handlers } from '../src/run-options.ts'
import { ConsumerStage, F, type StagedWorker } from './consumer-stage.ts'
import { shardIdOf } from './modelled-kinesis.ts'

export const CLOSE_MS: number = 3 * F

/** One worker, whose handler fails for the record "bad" until it is mended, and never settles for "slow" until it is let go. */
export class Life {
  readonly stage: ConsumerStage
  readonly handled: string[] = []
  readonly hooks: string[] = []
  readonly aborted: unknown[] = []
  readonly slow: PromiseWithResolvers<void> = Promise.withResolvers<void>()
  isMended = false
  readonly #hooks: Partial<Record<string, ShardHook>>

  constructor(shards = 1, hooks: Partial<Record<string, ShardHook>> = {}) {
    this.stage = new ConsumerStage(shards)
    this.#hooks = hooks
  }

  start(options: Partial<ConsumerOptions> = {}, name = 'worker'): StagedWorker {
    const settings = { maxAttempts: 1, stoppedRetryMs: 20 * F, closeTimeout: CLOSE_MS, ...options }
    return this.stage.start(name, this.handlers, settings)
  }

  get handlers(): Handlers {
    const hook =
      (name: string): ShardHook =>
      (shard, context) => {
        this.hooks.push(`${name} ${Number(shard.shardId.slice(-12))}`)
        return this.#hooks[name]?.(shard, context)
      }
    const [onShardStart, onShardEnd] = [hook('start'), hook('end')]
    const [onShardRelease, onLeaseLost] = [hook('release'), hook('lost')]
    return { eachRecord: (...call) => this.#handle(...call), onShardStart, onShardEnd, onShardRelease, onLeaseLost }
  }

  #handle: EachRecord<undefined> = async (record, { signal }) => {
    const text = record.text()
    this.handled.push(text)
    if (text.startsWith('bad') && !this.isMended) throw new Error('no good')
    if (!text.startsWith('slow')) return
    signal.addEventListener('abort', () => this.aborted.push(signal.reason.code))
    await this.slow.promise
  }

  counter(shard = 0): number {
    return this.stage.lease(shard).counter
  }

  async stopped(worker: StagedWorker, shard = 0): Promise<void> {
    await this.stage.until('the shard has stopped', () => status(worker, shard)?.state === 'stopped')
  }
}

/** A shard that the worker holds. */
export function status({ consumer }: StagedWorker, shard = 0): ShardStatus | undefined {
  return consumer.status().shards.find(({ shardId }) => shardId === shardIdOf(shard))
}

/** How long it takes, by the stage's clock. */
export async function durationOf(life: Life, work: Promise<unknown>): Promise<number> {
  const startedAt = life.stage.clock.monotonicMs()
  await life.stage.done(work)
  return life.stage.clock.monotonicMs() - startedAt
}

/** A key of the given one of a stream's equal shards. */
export function keyIn(shard: number, shards = 2): string {
  for (let number = 0; ; number++) {
    if ((hashKeyOf(`key-${number}`) * BigInt(shards)) >> 128n === BigInt(shard)) return `key-${number}`
  }
}

/** Never settles, whatever its signal says. */
export const never: ShardHook = () => new Promise(() => {})
