import { setTimeout as sleep } from 'node:timers/promises'
import type {
  Kinesis,
  _Record as KinesisRecord,
  SubscribeToShardCommandInput,
  SubscribeToShardEvent,
  SubscribeToShardEventStream,
} from '@aws-sdk/client-kinesis'

/** No backend takes longer than this between a record and its event. */
const PATIENCE_MS = 4_500
const POLL_MS = 5

/** A subscription to a shard that collects what is pushed. */
export class FanOut {
  readonly events: SubscribeToShardEvent[] = []
  /** How it ended: `over`, or the name of an error. */
  end: string | undefined
  readonly #abort: AbortController
  readonly #running: Promise<void>

  private constructor(stream: AsyncIterable<SubscribeToShardEventStream>, abort: AbortController) {
    this.#abort = abort
    this.#running = this.#collect(stream)
  }

  /** Rejects as the service refuses a subscription. */
  static async open(kinesis: Kinesis, input: SubscribeToShardCommandInput): Promise<FanOut> {
    const abort = new AbortController()
    const { EventStream } = await kinesis.subscribeToShard(input, { abortSignal: abort.signal })
    return new FanOut(EventStream!, abort)
  }

  get texts(): string[] {
    return this.events.flatMap(({ Records }) => Records!.map(textOf))
  }

  /** Waits until what came fulfils a condition. */
  async until(what: string, condition: (fanOut: FanOut) => boolean): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS
    while (!condition(this)) {
      if (performance.now() > deadline) {
        const seen = `${this.events.length} events with ${JSON.stringify(this.texts)}, end: ${this.end ?? 'none'}`
        throw new Error(`waited ${PATIENCE_MS} ms for ${what}; got ${seen}`)
      }
      await sleep(POLL_MS)
    }
  }

  async close(): Promise<void> {
    this.#abort.abort()
    await this.#running
  }

  async #collect(stream: AsyncIterable<SubscribeToShardEventStream>): Promise<void> {
    try {
      for await (const { SubscribeToShardEvent: event } of stream) if (event) this.events.push(event)
      this.end = 'over'
    } catch (error) {
      this.end = (error as Error).name
    }
  }
}

export function textOf({ Data }: KinesisRecord): string {
  return Buffer.from(Data!).toString()
}
