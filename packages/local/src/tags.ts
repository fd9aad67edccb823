import type { KinesisModel } from './kinesis-model.ts'
import { nullValue, type Request } from './requests.ts'
import { ServiceError, validation } from './service-error.ts'

/** The service's bound of tags on a stream. */
const MAX_TAGS = 50

export function addTags(model: KinesisModel, request: Request): object {
  const { tags } = model.stream(request)
  if (request.Tags === undefined || request.Tags === null) throw nullValue('tags')
  const given = Object.entries(Object(request.Tags))
  for (const [key, value] of given) {
    if (typeof value !== 'string') {
      throw new ServiceError('SerializationException', `Tags.${key}: expected a string, got ${typeof value}`)
    }
  }
  if (new Set([...tags.keys(), ...given.map(([key]) => key)]).size > MAX_TAGS) {
    throw validation(`a stream has at most ${MAX_TAGS} tags`)
  }
  for (const [key, value] of given) tags.set(key, value as string)
  return {}
}

export function listTags(model: KinesisModel, request: Request): object {
  const { tags } = model.stream(request)
  return { Tags: [...tags].map(([Key, Value]) => ({ Key, Value })), HasMoreTags: false }
}
