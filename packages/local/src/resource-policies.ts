import { isOfConsumer } from './arns.ts'
import { type Request, requiredString } from './requests.ts'
import type { Service } from './service.ts'
import { invalidArgument, notFound } from './service-error.ts'
import type { Stream } from './stream.ts'
import type { StreamConsumer } from './stream-consumer.ts'

export function getResourcePolicy(service: Service, stream: Stream, request: Request): object {
  return { Policy: resourceOf(service, stream, request).policy ?? '{}' }
}

/** Only kept and told: nothing is judged by it. */
export function putResourcePolicy(service: Service, stream: Stream, request: Request): object {
  const policy = requiredString(request, 'Policy')
  try {
    JSON.parse(policy)
  } catch (error) {
    throw Object.assign(invalidArgument('Policy: expected JSON.'), { cause: error })
  }
  resourceOf(service, stream, request).policy = policy
  return {}
}

export function deleteResourcePolicy(service: Service, stream: Stream, request: Request): object {
  const resource = resourceOf(service, stream, request)
  if (resource.policy === undefined) throw notFound(`No policy is attached to ${resource.arn}.`)
  resource.policy = undefined
  return {}
}

function resourceOf(service: Service, stream: Stream, request: Request): Stream | StreamConsumer {
  const arn = requiredString(request, 'ResourceARN')
  return isOfConsumer(arn) ? service.consumer(arn) : stream
}
