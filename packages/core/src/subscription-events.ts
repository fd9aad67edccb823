import type {
  KinesisClient,
  SubscribeToShardCommandOutput,
  SubscribeToShardEvent,
  SubscribeToShardEventStream,
} from '@aws-sdk/client-kinesis'
import { EventFrames } from './event-frames.ts'
import { withholdData } from './get-records-data.ts'

type Records = NonNullable<SubscribeToShardEvent['Records']>

/** The JSON of an event. */
interface WrittenEvent extends Omit<SubscribeToShardEvent, 'Records'> {
  readonly Records?: readonly WrittenRecord[]
}

type WrittenRecord = Omit<Records[number], 'ApproximateArrivalTimestamp' | 'Data'> & {
  /** Seconds since 1970. */
  readonly ApproximateArrivalTimestamp?: number
  /** Base64. */
  readonly Data?: string
}

/**
 * Makes a client read the events of its subscriptions by {@link SubscriptionEvents}. The SDK's own reader keeps, while nobody
 * asks for the next event, all that the last one was made of: 2.4 times its data for each subscription that is held back. Errors in
 * place of an answer stay the SDK's.
 *
 * @param client one that speaks JSON, as the SDK's Kinesis client does unless it is given a `protocol`
 */
export function readSubscriptionEvents(client: KinesisClient): void {
  /** By the context of each call. */
  const streams = new WeakMap<object, SubscriptionEvents>()
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const answered = await next(args)
      const events = streams.get(context)
      if (events !== undefined) (answered.output as SubscribeToShardCommandOutput).EventStream = events
      return answered
    },
    { step: 'deserialize', priority: 'high', name: 'giveSubscriptionEvents' },
  )
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const answered = await next(args)
      const answer = answered.response as { readonly statusCode: number; body?: unknown }
      if (context.commandName !== 'SubscribeToShardCommand' || answer.statusCode !== 200) return answered
      const events = new SubscriptionEvents(answer.body as AsyncIterable<Uint8Array>)
      // As the SDK does: a refusal may come in place of the first event.
      await events.begin()
      streams.set(context, events)
      answer.body = nothing()
      return answered
    },
    // Next to the request handler: the SDK's deserializer is between the two.
    { step: 'deserialize', priority: 'low', name: 'readSubscriptionEvents' },
  )
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

/** The events of one subscription. Keeps nothing of an event that it has given out. */
export class SubscriptionEvents implements AsyncIterableIterator<SubscribeToShardEventStream> {
  readonly #frames: EventFrames
  #first: SubscribeToShardEvent | undefined

  /** @param body of the answer */
  constructor(body: AsyncIterable<Uint8Array>) {
    this.#frames = new EventFrames(body)
  }

  /** How much has come, also of an event that isn't whole yet: a sign of life. */
  get receivedBytes(): number {
    return this.#frames.receivedBytes
  }

  /** Nothing has come that hasn't been taken: the next event was sent only lately. False where that isn't known. */
  get isDrained(): boolean {
    return this.#first === undefined && this.#frames.isDrained
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Waits for the beginning of the events. */
  async begin(): Promise<void> {
    const found = await this.#read()
    if (found !== 'begin') this.#first = found
  }

  async next(): Promise<IteratorResult<SubscribeToShardEventStream, undefined>> {
    let event = this.#first ?? (await this.#read())
    this.#first = undefined
    while (event === 'begin') event = await this.#read()
    return event === undefined
      ? { done: true, value: undefined }
      : { done: false, value: { SubscribeToShardEvent: event } }
  }

  /** Whoever leaves a loop over the events ends the subscription. */
  async return(): Promise<IteratorResult<SubscribeToShardEventStream, undefined>> {
    await this.#frames.end()
    return { done: true, value: undefined }
  }

  /** @throws the error that the service sends in place of an event, by its name */
  async #read(): Promise<SubscribeToShardEvent | 'begin' | undefined> {
    const frame = await this.#frames.next()
    if (frame === undefined) return undefined
    const { headers, payload } = frame
    const type = headers.get(':message-type')
    if (type === 'event') {
      return headers.get(':event-type') === 'SubscribeToShardEvent' ? eventIn(payload) : 'begin'
    }
    if (type === 'exception') {
      const { message = '', Message = message } = JSON.parse(payload.toString() || '{}') as Record<string, string>
      throw named(headers.get(':exception-type'), Message)
    }
    if (type === 'error') throw named(headers.get(':error-code'), headers.get(':error-message'))
    throw new Error(`expected an event or an error, got a message of type ${type}`)
  }
}

function named(name = 'UnknownError', message = ''): Error {
  return Object.assign(new Error(message), { name })
}

function eventIn(json: Buffer): SubscribeToShardEvent {
  const withheld = withholdData(json)
  const event = JSON.parse(withheld?.rest ?? json.toString()) as WrittenEvent
  let count = 0
  // The data is in the order of the records.
  const dataOf = ({ Data }: WrittenRecord): Uint8Array | undefined =>
    Data === undefined ? undefined : (withheld?.data[count++] ?? Buffer.from(Data, 'base64'))
  return {
    ...event,
    Records: event.Records?.map((record) => ({
      ...record,
      Data: dataOf(record),
      ApproximateArrivalTimestamp:
        record.ApproximateArrivalTimestamp === undefined
          ? undefined
          : new Date(record.ApproximateArrivalTimestamp * 1_000),
    })),
  }
}
