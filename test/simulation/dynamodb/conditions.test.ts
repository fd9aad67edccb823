import { describe, expect, test } from 'vitest'
import { checkCondition, holds } from './conditions.ts'
import { parseCondition } from './expressions.ts'
import { Placeholders } from './placeholders.ts'
import { takeInItem } from './values.ts'

const ITEM = takeInItem({
  word: { S: 'shardwise' },
  count: { N: '9' },
  none: { NULL: true },
  tags: { SS: ['a', 'b'] },
  deep: { M: { parts: { L: [{ N: '1' }, { M: { x: { S: 'in' } } }] } } },
  wide: { S: 'é𝄞' },
})
const NAMES = { '#count': 'count', '#none': 'none' }
const VALUES = {
  ':2': { N: '2' },
  ':9': { N: '9.0' },
  ':10': { N: '10' },
  ':3': { N: '3' },
  ':s': { S: 'shard' },
  ':a': { S: 'a' },
  ':ba': { SS: ['b', 'a'] },
  ':in': { S: 'in' },
  ':SS': { S: 'SS' },
}

function isMet(text: string): boolean {
  const parsed = parseCondition(text)
  const given = <T>(all: Record<string, T>, used: ReadonlySet<string>): Record<string, T> | undefined => {
    const entries = Object.entries(all).filter(([alias]) => used.has(alias))
    return entries.length > 0 ? Object.fromEntries(entries) : undefined
  }
  const placeholders = new Placeholders(
    {
      ExpressionAttributeNames: given(NAMES, parsed.names),
      ExpressionAttributeValues: given(VALUES, parsed.values),
    },
    [parsed],
  )
  checkCondition(parsed.tree, placeholders)
  return holds(parsed.tree, ITEM, placeholders)
}

describe('a condition', () => {
  test.each([
    ['#count = :9'],
    ['#count < :10 AND :2 < #count'],
    ['#count <= :9 AND #count >= :9'],
    ['#count BETWEEN :9 AND :10 AND #count BETWEEN :2 AND :9'],
    ['#count IN (:2, :9)'],
    ['tags = :ba'],
    ['begins_with(word, :s) AND contains(word, :s) AND contains(tags, :a)'],
    ['attribute_type(tags, :SS)'],
    ['size(tags) = :2 and size(wide) = :3'],
    ['deep.parts[1].x = :in'],
    ['absent <> :2'],
    ['attribute_exists(#none) AND attribute_not_exists(deep.parts[2])'],
    ['NOT #count = :2 AND NOT (#count = :10)'],
    // AND binds closer than OR.
    ['#count = :9 OR #count = :2 AND #count = :10'],
  ])('%s holds', (text) => {
    expect(isMet(text)).toBe(true)
  })

  test.each([
    ['absent = :2'],
    ['absent < :2'],
    ['#count = :a'],
    ['#count < :9 OR #count > :9'],
    ['word IN (:s, :a)'],
    ['(#count = :9 OR #count = :2) AND #count = :10'],
    ['absent = elsewhere'],
    ['deep.parts.x = :in'],
  ])('%s does not hold', (text) => {
    expect(isMet(text)).toBe(false)
  })

  test.each([
    ['', 'empty'],
    ['#count', 'Syntax error'],
    ['#count = :9 AND', 'Syntax error'],
    ['#count == :9', 'Syntax error'],
    ['#count = 9', 'Syntax error'],
    ['#count = :9)', 'Syntax error'],
    ["word = 'x'", 'Syntax error'],
    ['((#count = :9))', 'redundant parentheses'],
    ['count = :9', 'reserved keyword: count'],
    ['word = word', 'must be distinct'],
    ['size(word)', 'not allowed to be used this way'],
    ['attribute_exists(word) = :9', 'not allowed to be used this way'],
    ['attribute_exists(:9)', 'requires a document path'],
    ['exists(word)', 'Invalid function name'],
    ['begins_with(word)', 'Incorrect number of operands'],
    ['begins_with(word, :9)', 'Incorrect operand type'],
    ['word < :ba', 'Incorrect operand type'],
    ['#count BETWEEN :10 AND :9', 'upper bound'],
    ['#count BETWEEN :9 AND :a', 'same data type'],
    ['attribute_type(word, :a)', 'Invalid attribute type name'],
    ['word = :unknown', 'not defined'],
    ['#unknown = :9', 'not defined'],
  ])('"%s" is refused: %s', (text, reason) => {
    expect(() => isMet(text)).toThrow(
      expect.objectContaining({ name: 'ValidationException', message: expect.stringContaining(reason) }),
    )
  })
})
