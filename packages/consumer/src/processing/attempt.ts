import { ConsumerError } from '../errors.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import type { HandlerContext, ManualCheckpoints, PreparedCheckpoint } from './handlers.ts'

/** What the contexts of a shard's handlers have in common. */
export interface AttemptShard {
  readonly signal: AbortSignal
  readonly checkpoints?: ManualCheckpoints | undefined
}

/** The context of one call of the handler. Its functions may be taken out of it, so none needs `this`. */
export class Attempt implements HandlerContext {
  readonly attempt: number
  readonly #shard: AttemptShard
  readonly #last: ConsumerRecord | undefined
  readonly #isTimed: boolean
  /** Made when it is asked for: most handlers never ask. */
  #own: AbortController | undefined
  #reason: unknown

  /**
   * @param last the record that a checkpoint is at if none is named
   * @param isTimed whether the attempt may be told to give up before its shard is
   */
  constructor(shard: AttemptShard, attempt: number, last: ConsumerRecord | undefined, isTimed: boolean) {
    this.attempt = attempt
    this.#shard = shard
    this.#last = last
    this.#isTimed = isTimed
  }

  get signal(): AbortSignal {
    if (!this.#isTimed) return this.#shard.signal
    if (this.#own === undefined) {
      this.#own = new AbortController()
      if (this.#reason !== undefined) this.#own.abort(this.#reason)
      else if (this.#shard.signal.aborted) this.#own.abort(this.#shard.signal.reason)
    }
    return this.#own.signal
  }

  get checkpoint(): (record?: ConsumerRecord) => void {
    return (record = this.#last) => this.#checkpoints().checkpoint(record!)
  }

  get prepareCheckpoint(): (record?: ConsumerRecord, state?: Uint8Array) => Promise<PreparedCheckpoint> {
    return async (record = this.#last, state = undefined) => this.#checkpoints().prepareCheckpoint(record!, state)
  }

  /** The handler is to give up, or is waited for no longer. */
  get isOver(): boolean {
    return this.#reason !== undefined || this.#shard.signal.aborted
  }

  /** Only of one that is timed. */
  abort(reason: unknown): void {
    this.#reason ??= reason
    this.#own?.abort(reason)
  }

  #checkpoints(): ManualCheckpoints {
    const { checkpoints } = this.#shard
    if (checkpoints !== undefined) return checkpoints
    throw new ConsumerError(
      'ERR_STATE',
      "Expected a consumer with checkpointing: 'manual' for a checkpoint of the handler's own, got one whose checkpoints are automatic: " +
        'a record counts as finished once its handler is.',
    )
  }
}
