import { backoffMs, type Clock, orAborted, type Random } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import type { LeaseHolder } from '../leases/lease-holder.ts'
import type { StreamSource } from '../streams/stream-source.ts'
import type { StreamTelemetry } from '../telemetry/telemetry.ts'
import { within } from '../waiting.ts'
import type { ShardCheckpoints } from './shard-checkpoints.ts'
import type { HeldShardInfo, HookContext, ShardHook, ShardHooks } from './shard-hooks.ts'
import type { ShardSessions } from './shard-sessions.ts'

export interface HookCallsOptions {
  readonly hooks: ShardHooks
  readonly source: StreamSource
  readonly holder: Pick<LeaseHolder, 'lease'>
  readonly sessions: Pick<ShardSessions, 'checkpoints' | 'finished' | 'rest' | 'recovered'>
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: StreamTelemetry
  readonly maxAttempts: number
}

/** What a handler or hook gets to settle after its signal was aborted, before its lease goes on regardless. */
export const ABORT_GRACE_MS = 250
const RETRY_BACKOFF = { baseMs: 200, maxMs: 30_000 }

/**
 * Calls the hooks of one shard, each in its turn and as often as it needs. None of them can hold up what comes after it for longer
 * than its signal allows.
 */
export class HookCalls {
  readonly #options: HookCallsOptions
  readonly #checkpoints: Pick<HookContext, 'checkpoint' | 'prepareCheckpoint'>
  #hasStarted = false
  /** One of the hooks that close what it began has succeeded. */
  #isClosed = false

  constructor(options: HookCallsOptions) {
    this.#options = options
    const { sessions } = options
    this.#checkpoints = {
      checkpoint: (record) => {
        const checkpoints = manual(sessions.checkpoints)
        if (record === undefined) checkpoints.checkpointAt(sessions.finished)
        else checkpoints.checkpoint(record)
      },
      prepareCheckpoint: async (record, state) => manual(sessions.checkpoints).prepareCheckpoint(record, state),
    }
  }

  /** Until it has succeeded. Rejects when the signal is aborted, which the hook gets too. */
  async start(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#call('onShardStart', attempt, signal)
        this.#hasStarted = true
        signal.throwIfAborted()
        return
      } catch (error) {
        signal.throwIfAborted()
        const retryInMs = backoffMs(attempt, RETRY_BACKOFF, random)
        this.#failed('onShardStart', attempt, error, retryInMs)
        await clock.sleep(retryInMs, signal)
      }
    }
  }

  /**
   * Until it has succeeded; the shard stops when it has failed `maxAttempts` times, and is tried again as any that has stopped.
   *
   * @param patience ends the call; what the hook gets
   * @param signal ends the waiting for another: then it rejects
   */
  async end(patience: AbortSignal, signal: AbortSignal): Promise<void> {
    const { clock, random, maxAttempts, sessions } = this.#options
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#call('onShardEnd', attempt, patience)
        this.#isClosed = true
        sessions.recovered()
        return
      } catch (error) {
        const retryInMs =
          attempt < maxAttempts && !signal.aborted ? backoffMs(attempt, RETRY_BACKOFF, random) : undefined
        this.#failed('onShardEnd', attempt, error, retryInMs)
        signal.throwIfAborted()
        if (retryInMs === undefined) await sessions.rest({ record: undefined, error, attempts: attempt }, signal)
        else await clock.sleep(retryInMs, signal)
      }
    }
  }

  /** Once, if the shard was started and hasn't ended. */
  async release(signal: AbortSignal): Promise<void> {
    await this.#close('onShardRelease', signal)
  }

  /** Once, if the shard was started, and has neither ended nor been released. */
  async lost(signal: AbortSignal): Promise<void> {
    await this.#close('onLeaseLost', signal)
  }

  async #close(name: 'onShardRelease' | 'onLeaseLost', signal: AbortSignal): Promise<void> {
    if (!this.#hasStarted || this.#isClosed) return
    try {
      await this.#call(name, 1, signal)
      this.#isClosed = true
    } catch (error) {
      this.#failed(name, 1, error, undefined)
    }
  }

  /** Rejects with what the hook throws; also if it hasn't settled a moment after its signal was aborted. */
  async #call(name: keyof ShardHooks, attempt: number, signal: AbortSignal): Promise<void> {
    const { hooks, clock } = this.#options
    const hook = hooks[name]
    if (hook === undefined) return
    const work = this.#run(hook, { attempt, signal, ...this.#checkpoints })
    try {
      await orAborted(work, signal)
    } catch (error) {
      if (!signal.aborted) throw error
      await within(clock, ABORT_GRACE_MS, () => work)
    }
  }

  async #run(hook: ShardHook, context: HookContext): Promise<void> {
    const { source, holder } = this.#options
    const { shardId, checkpoint, pendingCheckpoint } = holder.lease
    const shard: HeldShardInfo = { stream: source.stream, shardId, checkpoint, pendingCheckpoint }
    await hook(shard, context)
  }

  #failed(hook: keyof ShardHooks, attempt: number, error: unknown, retryInMs: number | undefined): void {
    const { telemetry, holder } = this.#options
    telemetry.emit({ type: 'hookFailed', shardId: holder.lease.shardId, hook, attempt, retryInMs, error })
  }
}

function manual(checkpoints: ShardCheckpoints | undefined): ShardCheckpoints {
  if (checkpoints !== undefined) return checkpoints
  throw new ConsumerError(
    'ERR_STATE',
    "Expected a consumer with checkpointing: 'manual' for a checkpoint of a hook's own, got one whose checkpoints are automatic.",
  )
}
