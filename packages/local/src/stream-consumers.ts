import { checkPattern, optionalInteger, optionalString, type Request, requiredString } from './requests.ts'
import type { Service } from './service.ts'
import { inUse, invalidArgument, limitExceeded, notFound, streamLabel } from './service-error.ts'
import type { Stream } from './stream.ts'
import { StreamConsumer } from './stream-consumer.ts'
import { checkCreation, checkServing } from './streams.ts'
import { checkedTags } from './tags.ts'
import { decodeToken, encodeToken } from './tokens.ts'

const NAME = /^[a-zA-Z0-9_.-]{1,128}$/
/** The service's default number of consumers of a stream, and how many may be CREATING at once. */
const MAX_CONSUMERS = 20
const MAX_CREATING = 5
const MAX_PAGE = 100

export function registerStreamConsumer(service: Service, stream: Stream, request: Request): object {
  requiredString(request, 'StreamARN')
  const name = requiredString(request, 'ConsumerName')
  checkPattern('ConsumerName', name, NAME)
  checkServing(stream)
  const tags = checkedTags(request.Tags ?? {})
  if (stream.consumers.has(name)) {
    throw inUse(`Consumer ${name} of ${streamLabel(stream.name)} already exists.`)
  }
  const others = [...stream.consumers.values()]
  if (others.length >= MAX_CONSUMERS) {
    throw limitExceeded(`${streamLabel(stream.name)} already has its ${MAX_CONSUMERS} consumers.`)
  }
  if (others.filter(({ lifecycle }) => lifecycle.status === 'CREATING').length >= MAX_CREATING) {
    throw limitExceeded(`${MAX_CREATING} consumers of ${streamLabel(stream.name)} are being created already.`)
  }
  const consumer = new StreamConsumer(stream, name, service.wallMs)
  for (const [key, value] of tags) consumer.tags.set(key, value)
  consumer.lifecycle.begin('CREATING', service.monotonicMs + service.registerMs, service.monotonicMs)
  stream.consumers.set(name, consumer)
  const described = describe(consumer)
  // The answer tells how it began, as with the service, even where it takes no time.
  return { Consumer: { ...described, ConsumerStatus: 'CREATING' } }
}

export function describeStreamConsumer(service: Service, _stream: Stream, request: Request): object {
  const consumer = existing(service, request)
  return { ConsumerDescription: { ...describe(consumer), StreamARN: consumer.stream.arn } }
}

export function listStreamConsumers(service: Service, request: Request): object {
  const token = optionalString(request, 'NextToken')
  const listing = token === undefined ? request : decodeToken(token, service)
  const stream = service.stream({ StreamARN: requiredString(listing, 'StreamARN') })
  service.admitCall('ListStreamConsumers', stream, 5)
  checkCreation(stream, request)
  const limit = Math.min(optionalInteger(request, 'MaxResults', 1, 10_000) ?? MAX_PAGE, MAX_PAGE)
  const after = optionalString(listing, 'after') ?? ''
  const rest = [...stream.consumers.values()]
    .filter(({ name }) => name > after)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const page = rest.slice(0, limit)
  const next = { StreamARN: stream.arn, after: page.at(-1)?.name }
  return {
    Consumers: page.map(describe),
    ...(rest.length > limit && { NextToken: encodeToken(next, service) }),
  }
}

export function deregisterStreamConsumer(service: Service, stream: Stream, request: Request): object {
  const consumer = existing(service, request)
  const { monotonicMs, registerMs } = service
  if (consumer.lifecycle.status === 'DELETING') return {}
  consumer.endSubscriptions(notFound(`Consumer ${consumer.arn} was deregistered.`))
  consumer.lifecycle.begin('DELETING', monotonicMs + registerMs, monotonicMs, () => {
    if (stream.consumers.get(consumer.name) === consumer) stream.consumers.delete(consumer.name)
  })
  return {}
}

/** The consumer that a request names by its ARN, or by its name and its stream's ARN. */
function existing(service: Service, request: Request): StreamConsumer {
  const arn = optionalString(request, 'ConsumerARN')
  const name = optionalString(request, 'ConsumerName')
  if (arn !== undefined) {
    const consumer = service.consumer(arn)
    if (name === undefined || name === consumer.name) return consumer
    throw invalidArgument(`ConsumerARN ${arn} is not that of ConsumerName ${name}.`)
  }
  const streamArn = optionalString(request, 'StreamARN')
  if (name === undefined || streamArn === undefined) {
    throw invalidArgument('Either ConsumerARN, or both StreamARN and ConsumerName must be provided.')
  }
  const stream = service.stream({ StreamARN: streamArn })
  const consumer = stream.consumers.get(name)
  if (consumer === undefined) throw notFound(`Consumer ${name} of ${streamLabel(stream.name)} not found.`)
  return consumer
}

function describe({ name, arn, lifecycle, createdMs }: StreamConsumer): object {
  return {
    ConsumerName: name,
    ConsumerARN: arn,
    ConsumerStatus: lifecycle.status,
    ConsumerCreationTimestamp: new Date(createdMs),
  }
}
