import { isOfConsumer } from './arns.ts'
import {
  nullValue,
  optionalInteger,
  optionalString,
  type Request,
  requiredString,
  requiredStrings,
} from './requests.ts'
import type { Service } from './service.ts'
import { ServiceError, validation } from './service-error.ts'
import type { Stream } from './stream.ts'

/** The service's bounds of the tags on a resource and of a tag. */
const MAX_TAGS = 50
const MAX_KEY_LENGTH = 128
const MAX_VALUE_LENGTH = 256

type Tags = Map<string, string>

export function addTagsToStream(_service: Service, { tags }: Stream, request: Request): object {
  return addTags(tags, request)
}

export function removeTagsFromStream(_service: Service, { tags }: Stream, request: Request): object {
  return removeTags(tags, request)
}

export function listTagsForStream(_service: Service, { tags }: Stream, request: Request): object {
  const limit = optionalInteger(request, 'Limit', 1, MAX_TAGS) ?? MAX_TAGS
  const after = optionalString(request, 'ExclusiveStartTagKey')
  const all = describe(tags)
  const rest = all.slice(after === undefined ? 0 : all.findIndex(({ Key }) => Key === after) + 1)
  return { Tags: rest.slice(0, limit), HasMoreTags: rest.length > limit }
}

export function tagResource(service: Service, stream: Stream, request: Request): object {
  return addTags(tagsOf(service, stream, request), request)
}

export function untagResource(service: Service, stream: Stream, request: Request): object {
  return removeTags(tagsOf(service, stream, request), request)
}

export function listTagsForResource(service: Service, stream: Stream, request: Request): object {
  return { Tags: describe(tagsOf(service, stream, request)) }
}

/** The tags that a request gives a new or an existing resource. */
export function checkedTags(given: unknown): readonly (readonly [string, string])[] {
  const entries = Object.entries(Object(given))
  for (const [key, value] of entries) {
    if (typeof value !== 'string') {
      throw new ServiceError('SerializationException', `Tags.${key}: expected a string, got ${typeof value}`)
    }
    if (key.length < 1 || key.length > MAX_KEY_LENGTH) {
      throw validation(`a tag's key has 1 to ${MAX_KEY_LENGTH} characters, got ${key.length}`)
    }
    if (value.length > MAX_VALUE_LENGTH) {
      throw validation(`a tag's value has at most ${MAX_VALUE_LENGTH} characters, got ${value.length}`)
    }
  }
  if (entries.length > MAX_TAGS) throw validation(`a resource has at most ${MAX_TAGS} tags`)
  return entries as [string, string][]
}

function addTags(tags: Tags, request: Request): object {
  if (request.Tags === undefined || request.Tags === null) throw nullValue('tags')
  const given = checkedTags(request.Tags)
  if (new Set([...tags.keys(), ...given.map(([key]) => key)]).size > MAX_TAGS) {
    throw validation(`a resource has at most ${MAX_TAGS} tags`)
  }
  for (const [key, value] of given) tags.set(key, value)
  return {}
}

function removeTags(tags: Tags, request: Request): object {
  for (const key of requiredStrings(request, 'TagKeys')) tags.delete(key)
  return {}
}

/** The tags of the stream or the consumer that a request names by its ARN. */
function tagsOf(service: Service, stream: Stream, request: Request): Tags {
  const arn = requiredString(request, 'ResourceARN')
  return isOfConsumer(arn) ? service.consumer(arn).tags : stream.tags
}

function describe(tags: Tags): { Key: string; Value: string }[] {
  return [...tags].map(([Key, Value]) => ({ Key, Value }))
}
