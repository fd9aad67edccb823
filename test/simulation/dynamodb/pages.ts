import type { QueryInput, ScanInput } from '@aws-sdk/client-dynamodb'
import { checkCondition, holds } from './conditions.ts'
import { invalid } from './errors.ts'
import { parseCondition, parseProjection } from './expressions.ts'
import { bindKeyCondition } from './key-conditions.ts'
import { comparePlaces, placeOf, segmentOf } from './order.ts'
import { Placeholders } from './placeholders.ts'
import { type Cut, projection } from './projections.ts'
import { type Row, type Source, sourceOf } from './sources.ts'
import type { StoredTable } from './stored-table.ts'
import { handOut, type Item } from './values.ts'
import type { World } from './world.ts'

const MAX_PAGE_BYTES = 1024 * 1024

type FindTable = (name: string | undefined) => StoredTable

export function scan(input: ScanInput, world: World, findTable: FindTable): object {
  const { inSegment, isWhole } = segmentOfScan(input)
  const { shape } = bindShape(input)
  const source = sourceOf(input, findTable(input.TableName), world)
  const start = input.ExclusiveStartKey && source.placeOf(input.ExclusiveStartKey)
  if (start !== undefined && !inSegment({ place: start })) {
    throw invalid('The provided starting key is invalid: Please use ExclusiveStartKey with correct Segment')
  }
  const rows = start === undefined ? source.rows.all : source.rows.after(start)
  return page(isWhole ? rows : rows.filter(inSegment), source, shape)
}

function segmentOfScan({ Segment: segment, TotalSegments: total }: ScanInput): {
  readonly inSegment: (row: Pick<Row, 'place'>) => boolean
  readonly isWhole: boolean
} {
  if (segment === undefined && total === undefined) return { inSegment: () => true, isWhole: true }
  if (segment === undefined || total === undefined) {
    throw invalid('Expected both Segment and TotalSegments in the request, got one of them')
  }
  if (!(total >= 1 && segment >= 0 && segment < total)) {
    throw invalid(
      'The Segment parameter is zero-based and must be less than parameter TotalSegments: ' +
        `Segment: ${segment} is not less than TotalSegments: ${total}`,
    )
  }
  return { inSegment: ({ place }) => segmentOf(place, total) === segment, isWhole: total === 1 }
}

export function query(input: QueryInput, world: World, findTable: FindTable): object {
  if (input.KeyConditionExpression === undefined) {
    throw invalid('Expected a KeyConditionExpression in the request, got none')
  }
  const wanted = parseCondition(input.KeyConditionExpression)
  const { shape, placeholders, filtered } = bindShape(input, wanted)
  const source = sourceOf(input, findTable(input.TableName), world)
  const { partition, isInRange } = bindKeyCondition(wanted.tree, source.schema, placeholders)
  const keyInFilter = filtered.find((name) => source.schema.names.includes(name))
  if (keyInFilter !== undefined) {
    throw invalid(
      `Filter Expression can only contain non-primary key attributes: Primary key attribute: ${keyInFilter}`,
    )
  }
  const { hash, partition: text } = placeOf(partition, undefined)
  const start = input.ExclusiveStartKey && source.placeOf(input.ExclusiveStartKey)
  if (start !== undefined && (start.partition !== text || !isInRange(start.range))) {
    throw invalid('The provided starting key is outside query boundaries based on provided conditions')
  }
  const forward = input.ScanIndexForward !== false
  const isAfterStart = ({ place }: Row): boolean => {
    if (start === undefined) return true
    const order = comparePlaces(place, start)
    return forward ? order > 0 : order < 0
  }
  const rows = source.rows.inPartition(hash, text).filter((row) => isInRange(row.place.range) && isAfterStart(row))
  return page(forward ? rows : rows.toReversed(), source, shape)
}

/** What a page is made of, however its rows were found. */
interface Shape {
  readonly limit: number
  readonly passes: (item: Item) => boolean
  readonly cut: Cut
  readonly isCount: boolean
}

/** @param others the request's expressions besides filter and projection */
function bindShape(
  input: ScanInput & QueryInput,
  ...others: ReturnType<typeof parseCondition>[]
): { readonly shape: Shape; readonly placeholders: Placeholders; readonly filtered: readonly string[] } {
  const { FilterExpression, ProjectionExpression, Limit, Select } = input
  if (Limit !== undefined && Limit < 1) throw invalid(`Expected a Limit of at least 1, got ${Limit}`)
  const filter = FilterExpression === undefined ? undefined : parseCondition(FilterExpression)
  const kept = ProjectionExpression === undefined ? undefined : parseProjection(ProjectionExpression)
  const placeholders = new Placeholders(
    input,
    [...others, filter, kept].filter((parsed) => parsed !== undefined),
  )
  for (const condition of [...others, filter]) {
    if (condition !== undefined) checkCondition(condition.tree, placeholders)
  }
  return {
    placeholders,
    filtered: filter?.paths.map((path) => placeholders.head(path)) ?? [],
    shape: {
      limit: Limit ?? Number.POSITIVE_INFINITY,
      passes: (item) => filter === undefined || holds(filter.tree, item, placeholders),
      cut: projection(kept, placeholders),
      isCount: Select === 'COUNT',
    },
  }
}

/** Limit and size count what is looked at, before the filter. A page that ends at its limit names a key to go on from, though nothing may follow. */
function page(rows: readonly Row[], source: Source, { limit, passes, cut, isCount }: Shape): object {
  const found: Record<string, unknown>[] = []
  let scanned = 0
  let count = 0
  let bytes = 0
  let last: Item | undefined
  let isCutOff = false
  for (const row of rows) {
    const { item, size } = row.at(source.asOfMs())
    if (item === undefined) continue
    if (last !== undefined && bytes + size > MAX_PAGE_BYTES) {
      isCutOff = true
      break
    }
    last = item
    scanned++
    bytes += size
    if (passes(item)) {
      count++
      if (!isCount) found.push(handOut(cut(item)))
    }
    if (scanned >= limit) {
      isCutOff = true
      break
    }
  }
  return {
    ...(!isCount && { Items: found }),
    Count: count,
    ScannedCount: scanned,
    ...(isCutOff && last !== undefined && { LastEvaluatedKey: handOut(source.keyOf(last)) }),
  }
}
