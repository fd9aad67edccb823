import { ListTagsForStreamCommand } from '@aws-sdk/client-kinesis'
import { type Clock, type Kinesis, orAborted, type Random } from '@shardwise/core'
import { askAgain } from '../ask-again.ts'

export interface StreamTagsOptions {
  readonly kinesis: Kinesis
  readonly clock: Clock
  readonly random: Random
}

/** The service answers ListTagsForStream five times a second for an account, and every worker asks for every stream. */
const KEPT_MS = 5 * 60_000
/** Some are asked for again earlier, so that not all are at once. */
const MIN_KEPT_MS = KEPT_MS / 2
/** These calls, of which an account has five or twenty a second, are made for many streams by many workers. */
export const STREAM_CALL_BACKOFF = { baseMs: 400, maxMs: 5_000 }

/** The tags of streams, each asked for once in some minutes. */
export class StreamTags {
  readonly #options: StreamTagsOptions
  /** By the stream's identifier: one that was made anew under the same ARN is another. */
  readonly #known = new Map<string, { readonly tags: Readonly<Record<string, string>>; readonly untilMs: number }>()

  constructor(options: StreamTagsOptions) {
    this.#options = options
  }

  async of(identifier: string, arn: string, signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    const { clock, random } = this.#options
    this.#forget(clock.monotonicMs())
    const known = this.#known.get(identifier)
    if (known !== undefined) return known.tags
    const askedMs = clock.monotonicMs()
    const tags = await this.#ask(arn, signal)
    const keptMs = MIN_KEPT_MS + random() * (KEPT_MS - MIN_KEPT_MS)
    this.#known.set(identifier, { tags, untilMs: askedMs + keptMs })
    return tags
  }

  #forget(nowMs: number): void {
    for (const [identifier, { untilMs }] of this.#known) if (nowMs >= untilMs) this.#known.delete(identifier)
  }

  async #ask(arn: string, signal: AbortSignal): Promise<Record<string, string>> {
    const { kinesis, clock, random } = this.#options
    const tags: Record<string, string> = {}
    let after: string | undefined
    do {
      const command = new ListTagsForStreamCommand({
        StreamARN: arn,
        ...(after !== undefined && { ExclusiveStartTagKey: after }),
      })
      const page = await askAgain(() => orAborted(kinesis.send(command, { abortSignal: signal }), signal), {
        clock,
        random,
        backoff: STREAM_CALL_BACKOFF,
        signal,
      })
      for (const { Key, Value } of page.Tags ?? []) if (Key !== undefined) tags[Key] = Value ?? ''
      after = page.HasMoreTags === true ? page.Tags?.at(-1)?.Key : undefined
    } while (after !== undefined)
    return tags
  }
}
