import type { AttributeDefinition, AttributeValue, KeySchemaElement } from '@aws-sdk/client-dynamodb'
import { invalid } from './errors.ts'
import { keyText } from './order.ts'
import { type Item, takeIn, typeOf, type ValueType } from './values.ts'

const MAX_PARTITION_KEY_BYTES = 2048
const MAX_RANGE_KEY_BYTES = 1024

/** The key attributes of a table or index: the partition key and maybe a range key. */
export class KeySchema {
  readonly names: readonly string[]
  readonly #types: readonly string[]

  constructor(elements: readonly KeySchemaElement[], definitions: readonly AttributeDefinition[]) {
    const [partition, range] = elements
    if (partition?.KeyType !== 'HASH') {
      throw invalid('Invalid KeySchema: The first KeySchemaElement is not a HASH key type')
    }
    if (elements.length > 2 || (range !== undefined && range.KeyType !== 'RANGE')) {
      throw invalid('Invalid KeySchema: The second KeySchemaElement is not a RANGE key type')
    }
    this.names = elements.map(({ AttributeName }) => AttributeName!)
    if (new Set(this.names).size < this.names.length) {
      throw invalid('Both the Hash Key and the Range Key element in the KeySchema have the same name')
    }
    this.#types = this.names.map((name) => {
      const type = definitions.find(({ AttributeName }) => AttributeName === name)?.AttributeType
      if (type !== undefined) return type
      throw invalid(
        'One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. ' +
          `Keys: [${this.names.join(', ')}]`,
      )
    })
  }

  valuesIn(item: Item): [AttributeValue, AttributeValue | undefined] {
    return [item[this.names[0]!]!, this.names[1] === undefined ? undefined : item[this.names[1]]]
  }

  /** One text for each key: of a lone partition key its value, otherwise a JSON array. */
  textOf(item: Item): string {
    const [partition, range] = this.valuesIn(item)
    return range === undefined ? keyText(partition) : JSON.stringify([keyText(partition), keyText(range)])
  }

  keyOf(item: Item): Item {
    return Object.fromEntries(this.names.map((name) => [name, item[name]!]))
  }

  /** Checks and copies a key that must consist of this schema's attributes. */
  takeInKey(given: Item | undefined): Item {
    const key: Record<string, AttributeValue> = {}
    for (const [index, name] of this.names.entries()) {
      const value = given?.[name]
      if (value === undefined) throw wrongKey()
      key[name] = takeIn(value)
      if (typeOf(key[name]) !== this.#types[index]) throw wrongKey()
      this.#checkSize(index, key[name])
    }
    if (Object.keys(given ?? {}).length !== this.names.length) throw wrongKey()
    return key
  }

  /** Checks that a whole item has this table's key. */
  checkItem(item: Item): void {
    for (const [index, name] of this.names.entries()) {
      const value = item[name]
      if (value === undefined) {
        throw invalid(`One or more parameter values were invalid: Missing the key ${name} in the item`)
      }
      if (typeOf(value) !== this.#types[index]) {
        throw invalid(
          `One or more parameter values were invalid: Type mismatch for key ${name} ` +
            `expected: ${this.#types[index]} actual: ${typeOf(value)}`,
        )
      }
      this.#checkSize(index, value)
    }
  }

  /** Checks that an item can be in this index: it may lack the key attributes, but not have others. */
  checkIndexed(item: Item, indexName: string): void {
    for (const [index, name] of this.names.entries()) {
      const value = item[name]
      if (value === undefined) continue
      this.checkIndexedType(name, typeOf(value), indexName)
      this.#checkSize(index, value)
    }
  }

  /** Checks what an attribute will be, which may be one of this index's key. */
  checkIndexedType(name: string, type: ValueType, indexName: string): void {
    const index = this.names.indexOf(name)
    if (index < 0 || type === this.#types[index]) return
    throw invalid(
      `One or more parameter values were invalid: Type mismatch for Index Key ${name} ` +
        `Expected: ${this.#types[index]} Actual: ${type} IndexName: ${indexName}`,
    )
  }

  /** Checks a value that a key attribute is to be compared with. */
  checkType(name: string, value: AttributeValue): void {
    if (typeOf(value) === this.#types[this.names.indexOf(name)]) return
    throw invalid('One or more parameter values were invalid: Condition parameter type does not match schema type')
  }

  #checkSize(index: number, value: AttributeValue): void {
    if (value.N !== undefined) return
    const bytes = value.S === undefined ? value.B!.length : Buffer.byteLength(value.S)
    if (bytes === 0) {
      throw invalid(
        'One or more parameter values are not valid. ' +
          `The AttributeValue for a key attribute cannot contain an empty value. Key: ${this.names[index]}`,
      )
    }
    if (bytes <= (index === 0 ? MAX_PARTITION_KEY_BYTES : MAX_RANGE_KEY_BYTES)) return
    throw invalid(
      index === 0
        ? 'One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes'
        : 'One or more parameter values were invalid: ' +
            'Aggregated size of all range keys has exceeded the size limit of 1024 bytes',
    )
  }
}

function wrongKey(): Error {
  return invalid('The provided key element does not match the schema')
}
