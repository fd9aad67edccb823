import { cbor, tag } from '@smithy/core/cbor'
import type { Protocol } from './protocol.ts'
import type { Request } from './requests.ts'
import { ServiceError } from './service-error.ts'
import { type DataEntry, dataEntries, decodeTimes, requestFields } from './wire-shapes.ts'

/** RFC 8949's tag of a point in time. AWS has milliseconds in it, not the seconds of the RFC. */
const TIME_TAG = 1

/** What the AWS SDK for Java speaks to Kinesis: the fields of the JSON protocol in CBOR, with byte strings and tagged times. */
export const cborProtocol: Protocol = {
  contentType: 'application/x-amz-cbor-1.1',
  decode(body: Buffer): Request {
    const request = requestFields(parse(body))
    copyData(dataEntries(request))
    return decodeTimes(request, dateOf)
  },
  encode: (answer) => cbor.serialize(encodable(answer)),
}

function parse(body: Buffer): unknown {
  try {
    return cbor.deserialize(body)
  } catch (error) {
    throw Object.assign(new ServiceError('SerializationException', 'The body is not CBOR.'), { cause: error })
  }
}

/** Copies all data of a request into one block, because byte strings are views of the body, which has the keys too. */
function copyData(entries: readonly DataEntry[]): void {
  const holders = entries.filter((entry): entry is { Data: Uint8Array } => entry.Data instanceof Uint8Array)
  const block = Buffer.allocUnsafeSlow(holders.reduce((sum, { Data }) => sum + Data.length, 0))
  let at = 0
  for (const entry of holders) {
    const end = at + entry.Data.length
    block.set(entry.Data, at)
    entry.Data = block.subarray(at, end)
    at = end
  }
}

function dateOf(value: unknown): Date | undefined {
  const tagged = Object(value) as { tag?: unknown; value?: unknown }
  return tagged.tag === TIME_TAG && typeof tagged.value === 'number' ? new Date(tagged.value) : undefined
}

/** The same value as the codec takes it: no undefined fields, times as tags. */
function encodable(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  if (value instanceof Date) return tag({ tag: TIME_TAG, value: value.getTime() })
  if (Array.isArray(value)) return value.map(encodable)
  const fields: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(value)) {
    if (field !== undefined) fields[name] = encodable(field)
  }
  return fields
}
