import type { Request } from './requests.ts'
import { ServiceError } from './service-error.ts'

/** A request as it was parsed, before its data and its times have the model's shapes. */
export interface WireRequest {
  Data?: unknown
  Records?: unknown
  [field: string]: unknown
}

export interface DataEntry {
  Data?: unknown
}

const TIMES = ['Timestamp', 'StreamCreationTimestamp', 'StreamCreationTimestampFilter']
const HOLDERS_OF_TIMES = ['StartingPosition', 'ShardFilter']

/** Whatever came, as an object with fields; a list or a lone value is no request. */
export function requestFields(parsed: unknown): WireRequest {
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ServiceError('SerializationException', 'Expected an object with the fields of the request.')
  }
  return parsed as WireRequest
}

/** Every object of a request that may have `Data`. */
export function dataEntries(request: WireRequest): DataEntry[] {
  const { Records } = request
  const records = Array.isArray(Records)
    ? Records.filter((entry): entry is DataEntry => typeof entry === 'object' && entry !== null)
    : []
  return [request, ...records]
}

/** Puts dates where a request has timestamps; what `toDate` doesn't take stays, for the model to refuse. */
export function decodeTimes(request: WireRequest, toDate: (value: unknown) => Date | undefined): Request {
  for (const holder of [request, ...HOLDERS_OF_TIMES.map((field) => request[field])]) {
    if (typeof holder !== 'object' || holder === null) continue
    const fields = holder as WireRequest
    for (const name of TIMES) {
      if (fields[name] !== undefined) fields[name] = toDate(fields[name]) ?? fields[name]
    }
  }
  return request
}

/** Records as GetRecords and SubscribeToShard answer them. */
export interface AnswerWithRecords {
  readonly Records: readonly { readonly Data: Uint8Array; readonly ApproximateArrivalTimestamp: Date }[]
}

/** Whether an answer holds records read: the large ones, which are worth an encoding of their own. */
export function hasRecords(answer: object): answer is AnswerWithRecords {
  return 'MillisBehindLatest' in answer && 'Records' in answer
}
