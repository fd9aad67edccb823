import { EventStreamCodec } from '@smithy/eventstream-codec'
import { expect, test } from 'vitest'
import { settle } from './manual-clock.ts'
import { SubscriptionEvents } from './subscription-events.ts'

const codec = new EventStreamCodec(
  (bytes) => Buffer.from(bytes as Uint8Array).toString(),
  (text) => Buffer.from(text),
)

type Message = readonly [headers: Readonly<Record<string, string>>, body: string]

const BEGIN: Message = [{ ':message-type': 'event', ':event-type': 'initial-response' }, '{}']
const eventOf = (event: object): Message => [
  { ':message-type': 'event', ':event-type': 'SubscribeToShardEvent' },
  JSON.stringify(event),
]

const headed = ([headers, body]: Message): Parameters<EventStreamCodec['encode']>[0] => ({
  headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, { type: 'string', value }])),
  body: Buffer.from(body),
})

function eventsOf(...messages: Message[]): SubscriptionEvents {
  const frames = messages.map((message) => codec.encode(headed(message)))
  return new SubscriptionEvents(
    (async function* () {
      yield* frames
    })(),
  )
}

test('events have their data as bytes and their times as dates, and end', async () => {
  const written = {
    Records: [
      { SequenceNumber: '1', PartitionKey: 'a', Data: 'aGk=', ApproximateArrivalTimestamp: 1_700_000_000.123 },
      { SequenceNumber: '2', Data: '' },
    ],
    ContinuationSequenceNumber: '2',
    MillisBehindLatest: 5,
  }
  const events = eventsOf(BEGIN, eventOf(written))
  await events.begin()
  const { value } = await events.next()
  const [first, second] = value?.SubscribeToShardEvent?.Records ?? []
  expect(Buffer.from(first?.Data ?? []).toString()).toBe('hi')
  expect(first?.ApproximateArrivalTimestamp).toEqual(new Date(1_700_000_000_123))
  expect([second?.PartitionKey, second?.Data?.length]).toEqual([undefined, 0])
  expect(value?.SubscribeToShardEvent).toMatchObject({ ContinuationSequenceNumber: '2', MillisBehindLatest: 5 })
  expect(await events.next()).toEqual({ done: true, value: undefined })
})

test('an event in place of the beginning is not lost', async () => {
  const events = eventsOf(eventOf({ MillisBehindLatest: 1 }), eventOf({ MillisBehindLatest: 2 }))
  await events.begin()
  expect((await events.next()).value).toMatchObject({ SubscribeToShardEvent: { MillisBehindLatest: 1 } })
  expect((await events.next()).value).toMatchObject({ SubscribeToShardEvent: { MillisBehindLatest: 2 } })
})

const EXCEPTION: Message = [
  { ':message-type': 'exception', ':exception-type': 'ResourceInUseException' },
  '{"message":"taken over"}',
]
const ERROR: Message = [{ ':message-type': 'error', ':error-code': 'InternalFailure', ':error-message': 'oh' }, '']

test('an error in place of an event is thrown by its name, and one in place of the beginning by begin()', async () => {
  const events = eventsOf(BEGIN, EXCEPTION)
  await events.begin()
  await expect(events.next()).rejects.toMatchObject({ name: 'ResourceInUseException', message: 'taken over' })
  await expect(eventsOf(EXCEPTION).begin()).rejects.toMatchObject({ name: 'ResourceInUseException' })
  await expect(eventsOf(ERROR).begin()).rejects.toMatchObject({ name: 'InternalFailure', message: 'oh' })
  await expect(eventsOf([{ ':message-type': 'news' }, '']).begin()).rejects.toThrow('got a message of type news')
})

test('data that is not base64 as the service writes it is left to the parser', async () => {
  const escaped = '{"Records":[{"Data":"aGk\\u003d"},{"Data" : "aG8="}],"MillisBehindLatest":0}'
  const events = eventsOf([{ ':message-type': 'event', ':event-type': 'SubscribeToShardEvent' }, escaped])
  const { value } = await events.next()
  expect(value?.SubscribeToShardEvent?.Records?.map(({ Data }) => String(Data))).toEqual(['hi', 'ho'])
})

test('what has come of an event that is not whole yet shows', async () => {
  const [begin, rest] = [codec.encode(headed(BEGIN)), codec.encode(headed(eventOf({ Records: [] })))]
  const more = Promise.withResolvers<void>()
  const events = new SubscriptionEvents(
    (async function* () {
      yield begin
      yield rest.subarray(0, 20)
      await more.promise
      yield rest.subarray(20)
    })(),
  )
  await events.begin()
  expect(events.receivedBytes).toBe(begin.length)
  const next = events.next()
  await settle()
  expect(events.receivedBytes).toBe(begin.length + 20)
  more.resolve()
  expect((await next).done).toBe(false)
  expect(events.receivedBytes).toBe(begin.length + rest.length)
})

test('leaving a loop over events ends what they come from, once nobody waits for it', async () => {
  let isOver = false
  const events = new SubscriptionEvents(
    (async function* () {
      try {
        for (;;) yield codec.encode(headed(eventOf({ Records: [] })))
      } finally {
        isOver = true
      }
    })(),
  )
  for await (const event of events) {
    expect(event.SubscribeToShardEvent).toEqual({ Records: [] })
    break
  }
  expect(isOver).toBe(true)
})

test('a refusal may come in place of the first event', async () => {
  const refused = eventsOf([
    { ':message-type': 'exception', ':exception-type': 'ResourceInUseException' },
    '{"message":"taken"}',
  ])
  await expect(refused.begin()).rejects.toMatchObject({ name: 'ResourceInUseException', message: 'taken' })
})
