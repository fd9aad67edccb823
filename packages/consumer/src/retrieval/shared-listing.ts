import { type Clock, type Kinesis, orAborted, type Shard } from '@shardwise/core'
import { shardsOf } from '../streams/shard-list.ts'

/** An answer may be so old for who asks next. */
const FRESH_MS = 1_000

export interface SharedListingOptions {
  readonly kinesis: Kinesis
  readonly stream: string
  readonly clock: Clock
}

interface Asked {
  readonly atMs: number
  readonly shards: Promise<readonly Shard[]>
  readonly givenUp: AbortController
  /** How many wait for it. */
  waiting: number
}

/**
 * Lists a stream's shards for all who ask at about the same time with one call: what makes one shard's reader ask often makes
 * all of them ask.
 */
export class SharedListing {
  readonly #options: SharedListingOptions
  #last: Asked | undefined

  constructor(options: SharedListingOptions) {
    this.#options = options
  }

  /**
   * The shards, as listed now or a second ago.
   *
   * @throws {ConsumerError} `ERR_STREAM` if there is no such stream; the signal's reason; other errors as they come
   */
  async list(signal: AbortSignal): Promise<readonly Shard[]> {
    signal.throwIfAborted()
    const nowMs = this.#options.clock.monotonicMs()
    if (this.#last === undefined || nowMs - this.#last.atMs >= FRESH_MS) this.#last = this.#ask(nowMs)
    const asked = this.#last
    asked.waiting++
    try {
      return await orAborted(asked.shards, signal)
    } finally {
      if (--asked.waiting === 0 && signal.aborted) asked.givenUp.abort(signal.reason)
    }
  }

  #ask(atMs: number): Asked {
    const { kinesis, stream } = this.#options
    const givenUp = new AbortController()
    const shards = orAborted(shardsOf(kinesis, stream, { signal: givenUp.signal }), givenUp.signal)
    const asked = { atMs, shards, givenUp, waiting: 0 }
    // Who comes next after a failure asks anew.
    shards.catch(() => {
      if (this.#last === asked) this.#last = undefined
    })
    return asked
  }
}
